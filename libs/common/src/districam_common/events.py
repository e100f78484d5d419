"""What travels on the topics as JSON: cameras, stored segments, stream events, dead letters. Plain values."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Cause = Literal[
    "camera_unreachable",
    "auth_failed",
    "not_found",
    "source_silent",
    "stream_error",
    "stream_changed",
    "shed_backpressure",
    "storage_down",
    "handover",
    "clock_step",
    "service_down",
    "pipeline_loss",
    "unknown",
]
"""Why a second is not stored (docs/design/contract.md, Causes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """WGS 84 degrees; `heading_deg` clockwise from north; `place` in the operator's words."""

    latitude: float
    longitude: float
    heading_deg: float | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One revision of a camera's record; the last record of a key wins, the history feeds the ledger."""

    type: ClassVar[str] = "districam.camera.v1"

    camera_id: str
    name: str
    url: str
    credential: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    reader: Literal["auto", "native", "ffmpeg"] = "auto"
    single_client: bool = False
    enabled: bool = True
    audio: bool = True
    segment_s: int = 10
    keyframe_interval_s: int = 4
    retention_days: int = 30
    groups: tuple[str, ...] = ()
    location: Location | None = None
    deleted: bool = False
    revision: int = 1
    updated_us: int = 0

    @property
    def is_expected(self) -> bool:
        """Whether footage is expected while this revision holds."""
        return self.enabled and not self.deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStored:
    """A segment is an object in the bucket. A function of the content: no time of storing, no reason of closing."""

    type: ClassVar[str] = "districam.segment.stored.v1"

    camera_id: str
    epoch: str
    first_seq: int
    last_seq: int
    start_us: int
    end_us: int
    bytes: int
    init_bytes: int
    access_units: int
    lost_packets: int
    damaged: int
    codecs: str
    width: int
    height: int
    starts_with_keyframe: bool
    bucket: str
    key: str
    sha256: str
    camera_start_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """An epoch has begun; `at_us` is its first access unit's start, also in the hourly repeats."""

    type: ClassVar[str] = "districam.stream.connected.v1"

    camera_id: str
    at_us: int
    instance: str
    epoch: str
    reader: str
    transport: str
    codecs: str
    width: int
    height: int
    server: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An epoch has ended at `end_us`; sent after its last fragment was acknowledged."""

    type: ClassVar[str] = "districam.stream.lost.v1"

    camera_id: str
    at_us: int
    instance: str
    epoch: str
    last_seq: int
    end_us: int
    cause: Cause
    detail: str = ""
    next_retry_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No epoch came about."""

    type: ClassVar[str] = "districam.stream.refused.v1"

    camera_id: str
    at_us: int
    instance: str
    cause: Cause
    detail: str = ""
    next_retry_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """Fragments dropped on purpose, before the log; acknowledged before the epoch's next fragment is sent."""

    type: ClassVar[str] = "districam.stream.shed.v1"

    camera_id: str
    at_us: int
    instance: str
    epoch: str
    first_seq: int
    last_seq: int
    start_us: int
    end_us: int
    access_units: int
    bytes: int
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the camera is seen to be, and its defects in words."""

    type: ClassVar[str] = "districam.stream.profile.v1"

    camera_id: str
    at_us: int
    instance: str
    codecs: str
    width: int
    height: int
    fps: float | None = None
    gop_s: float | None = None
    audio: str | None = None
    b_frames: bool = False
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStep:
    """The camera's own clock against ours: `offset_us` now, and the step it made."""

    type: ClassVar[str] = "districam.stream.clock.v1"

    camera_id: str
    at_us: int
    instance: str
    offset_us: int
    step_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FootageExpired:
    """Retention let go of [from_us, to_us); published before anything is deleted."""

    type: ClassVar[str] = "districam.footage.expired.v1"

    camera_id: str
    at_us: int
    instance: str
    from_us: int
    to_us: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFell:
    """Fragments fell off Kafka's retention before they were stored. The one event without a camera."""

    type: ClassVar[str] = "districam.partition.fell.v1"

    partition: int
    at_us: int
    instance: str
    from_us: int
    to_us: int


CameraEvent = Connected | Lost | Refused | Shed | Profile | ClockStep | FootageExpired
StreamEvent = CameraEvent | PartitionFell
STREAM_EVENTS: dict[str, type[StreamEvent]] = {
    kind.type: kind
    for kind in (Connected, Lost, Refused, Shed, Profile, ClockStep, FootageExpired, PartitionFell)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that can never be processed: where it lies and why; never its payload."""

    type: ClassVar[str] = "districam.deadletter.v1"

    topic: str
    partition: int
    offset: int
    key: str
    reason: str
    service: str
