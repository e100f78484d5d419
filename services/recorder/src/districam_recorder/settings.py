"""The recorder's settings: `DISTRICAM_RECORDER__<FIELD>` beside those of every service."""

from pydantic import Field

from districam_common.runtime.settings import HealthSettings, LockSettings, ServiceSettings


class RecorderSettings(LockSettings):
    """How segments are gathered, stored and committed."""

    idle_s: float = Field(default=15.0, gt=0)
    """A segment closes when nothing more has come for so long: the cameras' `segment_s` (10) and 5 s."""
    segment_max_bytes: int = Field(default=64 << 20, ge=1 << 20, le=1 << 30)
    memory_limit_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Of open segments and those on their way to the store. 102 cameras of 4 Mbit/s hold half a gigabyte."""
    uploads: int = Field(default=8, gt=0, le=256)
    """Puts at a time; `s3.threads` bounds them too."""
    commit_interval_s: float = Field(default=5.0, gt=0, le=5.0)
    contact_s: float = Field(default=60.0, ge=0)
    """So long the broker must have answered before `log_us` moves: ingests may have queued before."""
    drain_s: float = Field(default=10.0, ge=0)
    """Asked to stop, closed segments get so long to be stored; what is left is for the next owner."""


class Settings(ServiceSettings):
    """All that the recorder reads from its environment."""

    health: HealthSettings = HealthSettings(port=9102)
    recorder: RecorderSettings = RecorderSettings()
