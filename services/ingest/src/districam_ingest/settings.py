"""Ingest's settings: `DISTRICAM_INGEST__…`."""

from pathlib import Path

from pydantic import Field

from districam_common.runtime.settings import CaFile, HealthSettings, ServiceSettings, SettingsBlock


class IngestSettings(SettingsBlock):
    """How cameras are read, cut and published."""

    credentials_file: Path | None = None
    open_s: float = Field(default=10.0, gt=0)
    """Deadline of opening a stream."""
    silence_s: float = Field(default=10.0, gt=2)
    """Connected, and no media for so long: `source_silent`."""
    retry_first_s: float = Field(default=0.5, gt=0)
    retry_most_s: float = Field(default=30.0, gt=0)
    rtsps_ca_file: CaFile = None
    """Whose certificates `rtsps` cameras must have; without it none is verified: cameras make theirs themselves."""
    opening_at_once: int = Field(default=32, gt=0)
    """Streams take turns in being opened: so many at once, and as many of those that failed the last time (see `Turns`)."""
    fragment_max_s: float = Field(default=2.0, gt=0)
    fragment_max_bytes: int = Field(default=1 << 20, gt=0)
    segment_max_s: float = Field(default=60.0, gt=0)
    buffer_max_bytes: int = Field(default=512 << 20, gt=0)
    """Waiting for Kafka, all cameras together; over it, the rest of GOPs is shed and told."""
    single_copy_producer: bool = True
    """Records are copied once on their way to Kafka (`single_copy_producer`); false: aiokafka's own producer, unchanged."""
    linger_s: float = Field(default=20.0, ge=0)
    """How long a stream goes on that another replica has taken over, or whose replica stops."""
    g711_as_aac: bool = False
    """G.711 goes into no MP4: without this it is left out."""
    still_threads: int = Field(default=1, gt=0)
    still_width: int = Field(default=640, gt=15)


class Settings(ServiceSettings):
    """All that districam-ingest reads from its environment."""

    ingest: IngestSettings = IngestSettings()
    health: HealthSettings = HealthSettings(port=9101)
