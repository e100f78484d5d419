"""Ingest's settings: `DISTRICAM_INGEST__…`."""

from pathlib import Path

from pydantic import Field

from districam_common.runtime.settings import CaFile, HealthSettings, ServiceSettings, SettingsBlock


class IngestSettings(SettingsBlock):
    """How cameras are read, cut into fragments and segments, and published."""

    credentials_file: Path | None = None
    open_s: float = Field(default=10.0, gt=0)
    """Timeout for opening a stream."""
    silence_s: float = Field(default=10.0, gt=2)
    """A connection that delivers no media for this long is closed with cause `source_silent`."""
    retry_first_s: float = Field(default=0.5, gt=0)
    retry_most_s: float = Field(default=30.0, gt=0)
    rtsps_ca_file: CaFile = None
    """CA bundle for `rtsps` cameras; without it certificates are not verified, because most cameras self-sign theirs."""
    opening_at_once: int = Field(default=32, gt=0)
    """Streams opened concurrently; as many again for cameras whose last attempt failed (see `OpenLimiter`)."""
    fragment_max_s: float = Field(default=2.0, gt=0)
    fragment_max_bytes: int = Field(default=1 << 20, gt=0)
    segment_max_s: float = Field(default=60.0, gt=0)
    buffer_max_bytes: int = Field(default=512 << 20, gt=0)
    """Bytes buffered for Kafka by all cameras together; beyond it, the rest of each GOP is shed and reported."""
    single_copy_producer: bool = True
    """Use the producer that copies each record once (`output/single_copy_producer.py`); false: plain aiokafka."""
    linger_s: float = Field(default=20.0, ge=0)
    """How long a stream continues after another replica took it over, or while this replica shuts down."""
    g711_as_aac: bool = False
    """Transcode G.711 to AAC. MP4 has no entry for G.711: without this, G.711 audio is not stored."""
    still_threads: int = Field(default=1, gt=0)
    still_width: int = Field(default=640, gt=15)


class Settings(ServiceSettings):
    """All settings of districam-ingest."""

    ingest: IngestSettings = IngestSettings()
    health: HealthSettings = HealthSettings(port=9101)
