"""Settings of the indexer: `DISTRICAM_INDEXER__<FIELD>` beside those of every service."""

from pydantic import Field

from districam_common.settings import Block, HealthSettings, ServiceSettings


class IndexerBlock(Block):
    """The defaults suit a district.

    Attributes:
        batch_records: records written to Redis in one transaction at most.
        progress_s: between two looks at how far the recorders are.
        gauges_s: between two looks at which windows of the coverage are due (the last hour: every 15 s at most).
        settle_s: younger than the recorders' progress minus this is pending; the api needs the same.
        still_ttl_s: how long a still stays without a newer one.
        rebuild_lock_s: a rebuilder that is silent this long is taken for dead.
    """

    batch_records: int = Field(default=500, gt=0)
    progress_s: float = Field(default=2.0, gt=0)
    gauges_s: float = Field(default=15.0, gt=0)
    settle_s: float = Field(default=75.0, ge=0)
    still_ttl_s: int = Field(default=60, gt=0)
    rebuild_lock_s: int = Field(default=30, gt=2)


class IndexerSettings(ServiceSettings):
    """Everything the indexer is told."""

    health: HealthSettings = HealthSettings(port=9103)
    indexer: IndexerBlock = IndexerBlock()
