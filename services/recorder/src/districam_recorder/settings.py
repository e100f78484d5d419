"""The recorder's settings: `DISTRICAM_RECORDER__<FIELD>`, and those that every service has."""

from pydantic import Field

from districam_common.runtime.settings import HealthSettings, LockSettings, ServiceSettings


class RecorderSettings(LockSettings):
    """How segments are assembled, stored and committed."""

    idle_s: float = Field(default=15.0, gt=0)
    """A segment closes after this long without a fragment: the default `segment_s` (10 s) plus 5 s."""
    segment_max_bytes: int = Field(default=64 << 20, ge=1 << 20, le=1 << 30)
    memory_limit_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Limit on open segments and those being uploaded. 102 cameras of 4 Mbit/s hold half a gigabyte."""
    uploads: int = Field(default=8, gt=0, le=256)
    """Concurrent PUTs; also bounded by `s3.threads`."""
    commit_interval_s: float = Field(default=5.0, gt=0, le=5.0)
    contact_s: float = Field(default=60.0, ge=0)
    """After a broker outage, hold the watermark this long: ingests may still be draining their queues."""
    drain_s: float = Field(default=10.0, ge=0)
    """On shutdown, time for closed segments to be stored; the next owner of the partition stores the rest."""


class Settings(ServiceSettings):
    """All settings of the recorder."""

    health: HealthSettings = HealthSettings(port=9102)
    recorder: RecorderSettings = RecorderSettings()
