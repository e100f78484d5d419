"""Settings of the indexer: `DISTRICAM_INDEXER__<FIELD>`, and those that every service has."""

from pydantic import Field

from districam_common.runtime.settings import HealthSettings, LockSettings, ServiceSettings, SettingsBlock


class IndexerSettings(SettingsBlock):
    """The indexer's intervals and limits; the defaults suit a district.

    Attributes:
        batch_records: maximum records written to Redis in one transaction.
        progress_s: interval between reads of the recorders' watermarks.
        gauges_s: interval between checks of which coverage windows are due.
        settle_s: footage younger than the recorders' watermark minus this is pending; must equal the api's.
        still_ttl_s: how long a still is kept without a newer one.
        rebuild_lock_s: after this long without renewal, another replica takes over a rebuild.
        retention_s: interval between rounds of retention.
        retention_deletes_s: maximum objects deleted per second; a district stores 10.
        holds_s: interval between reads of the holds.
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
    """The storage budget.

    Attributes:
        max_bytes: limit of stored segments' bytes; beyond it, the oldest are deleted. Unset: no limit.
    """

    max_bytes: int | None = Field(default=None, gt=0)


class Settings(ServiceSettings):
    """All settings of the indexer."""

    health: HealthSettings = HealthSettings(port=9103)
    indexer: IndexerSettings = IndexerSettings()
    recorder: LockSettings = LockSettings()
    storage: StorageSettings = StorageSettings()
