"""Settings of the indexer: `DISTRICAM_INDEXER__<FIELD>` beside those of every service."""

from pydantic import Field

from districam_common.runtime.settings import HealthSettings, LockSettings, ServiceSettings, SettingsBlock


class IndexerSettings(SettingsBlock):
    """The defaults suit a district.

    Attributes:
        batch_records: records written to Redis in one transaction at most.
        progress_s: between two looks at how far the recorders are.
        gauges_s: between two looks at which windows of the coverage are due (the last hour: every 15 s at most).
        settle_s: younger than the recorders' progress minus this is pending; the api needs the same.
        still_ttl_s: how long a still stays without a newer one.
        rebuild_lock_s: a rebuilder that is silent this long is taken for dead.
        retention_s: between two looks at what is to be let go.
        retention_deletes_s: objects deleted in a second at most; a district makes 10.
        holds_s: between two looks at which holds there are.
    """

    batch_records: int = Field(default=500, gt=0)
    progress_s: float = Field(default=2.0, gt=0)
    gauges_s: float = Field(default=15.0, gt=0)
    settle_s: float = Field(default=75.0, ge=0)
    still_ttl_s: int = Field(default=60, gt=0)
    rebuild_lock_s: int = Field(default=30, gt=2)
    retention_s: float = Field(default=30.0, gt=0, le=60)
    retention_deletes_s: int = Field(default=200, gt=0)
    holds_s: float = Field(default=5.0, gt=0)


class StorageSettings(SettingsBlock):
    """What may be used.

    Attributes:
        max_bytes: of stored segments, as the index counts them; the oldest are let go beyond it. Unset: no limit.
    """

    max_bytes: int | None = Field(default=None, gt=0)


class Settings(ServiceSettings):
    """Everything the indexer is told."""

    health: HealthSettings = HealthSettings(port=9103)
    indexer: IndexerSettings = IndexerSettings()
    recorder: LockSettings = LockSettings()
    storage: StorageSettings = StorageSettings()
