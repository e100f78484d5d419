"""What travels on the topics as JSON: cameras, stored segments, stream events, dead letters. Plain values."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from districam_common.contract.fields import (
    INT32_MAX,
    Banner,
    CameraId,
    Codecs,
    Count,
    Defects,
    Epoch,
    Instance,
    Instant,
    Seconds,
    Seq,
    SignedUs,
    Text,
    Token,
)

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
    """Where a camera stands, WGS 84.

    Attributes:
        latitude: degrees, north positive.
        longitude: degrees, east positive.
        heading_deg: where it looks, degrees clockwise from north.
        place: in the operator's words.
    """

    latitude: float
    longitude: float
    heading_deg: float | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One revision of a camera's record; the last record of a key wins, the history feeds the ledger.

    Attributes:
        name: for people.
        url: `rtsp://host:port/path` or `rtsps://…`, never with user or password.
        credential: name of an entry in ingest's credentials file; null for none.
        transport: how the camera's media is fetched.
        reader: which RTSP reader is wanted.
        single_client: the camera serves one client only, so two replicas never overlap on it.
        enabled: whether footage is wanted.
        audio: whether sound is wanted.
        segment_s: target length of a segment, seconds.
        keyframe_interval_s: least distance of two stills, seconds.
        retention_days: how long its footage is kept, days.
        groups: names by which cameras are found together.
        location: where it stands, if that is known.
        deleted: the camera is no more; its footage stays until its retention ends.
        revision: number of this revision, from 1.
        updated_us: since when this revision holds, µs UTC; grows with each revision.
    """

    type: ClassVar[str] = "districam.camera.v1"

    camera_id: CameraId
    name: str
    url: str
    credential: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    reader: Literal["auto", "native", "ffmpeg"] = "auto"
    single_client: bool = False
    enabled: bool = True
    audio: bool = True
    segment_s: Annotated[int, Field(ge=2, le=60)] = 10
    keyframe_interval_s: Annotated[int, Field(ge=1, le=3600)] = 4
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    groups: tuple[str, ...] = ()
    location: Location | None = None
    deleted: bool = False
    revision: Annotated[int, Field(ge=1, le=INT32_MAX)] = 1
    updated_us: Instant = 0

    @property
    def is_expected(self) -> bool:
        """Whether footage is expected while this revision holds."""
        return self.enabled and not self.deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStored:
    """A segment is an object in the bucket. A function of the content: no time of storing, no reason of closing.

    Attributes:
        first_seq: number of its first fragment.
        last_seq: number of its last fragment, inclusive.
        start_us: decode time of its first access unit, µs UTC.
        end_us: where the next access unit would start, µs UTC, exclusive.
        bytes: size of the object.
        init_bytes: how many of them, at the front, are `ftyp` + `moov`.
        access_units: pictures in it.
        lost_packets: packets known to be missing in it.
        damaged: pictures known to be incomplete in it.
        codecs: RFC 6381, such as `avc1.640028`.
        width, height: pixels.
        starts_with_keyframe: whether its first access unit can be decoded alone.
        bucket: where it lies.
        key: the object's name in the bucket.
        sha256: hex digest of the whole object.
        camera_start_us: the camera's own clock at the start, µs UTC; null where it has said none.
    """

    type: ClassVar[str] = "districam.segment.stored.v1"

    camera_id: CameraId
    epoch: Epoch
    first_seq: Seq
    last_seq: Seq
    start_us: Instant
    end_us: Instant
    bytes: Count
    init_bytes: Count
    access_units: Count
    lost_packets: Count
    damaged: Count
    codecs: Codecs
    width: Count
    height: Count
    starts_with_keyframe: bool
    bucket: Banner
    key: Text
    sha256: Token
    camera_start_us: SignedUs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """An epoch has begun. Sent before its first fragment, and repeated every hour with the same `at_us`.

    Attributes:
        at_us: its first access unit's start, µs UTC, also in the repeats.
        reader: the RTSP reader at work.
        transport: how the media comes.
        codecs: RFC 6381, such as `avc1.640028`.
        width, height: pixels.
        server: what the camera calls itself; null if it does not.
        repeated: whether this is one of the hourly repeats.
    """

    type: ClassVar[str] = "districam.stream.connected.v1"

    camera_id: CameraId
    at_us: Instant
    instance: Instance
    epoch: Epoch
    reader: Text
    transport: Token
    codecs: Codecs
    width: Count
    height: Count
    server: Banner | None = None
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An epoch has ended. Sent after its last fragment was acknowledged.

    Attributes:
        at_us: when that was noticed, µs UTC.
        last_seq: number of its last fragment.
        end_us: where its footage ends, µs UTC, exclusive.
        cause: why.
        detail: why, in words.
        next_retry_s: when the next try is due, seconds after `at_us`.
        interrupted: whether pictures may be missing behind it: the connection ended too, or what came next is in no epoch.
            If not, or if nothing is said, the next epoch begins with the very next picture.
    """

    type: ClassVar[str] = "districam.stream.lost.v1"

    camera_id: CameraId
    at_us: Instant
    instance: Instance
    epoch: Epoch
    last_seq: Seq
    end_us: Instant
    cause: Cause
    detail: Text = ""
    next_retry_s: Seconds = 0.0
    interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No epoch came about. Told anew at each try.

    Attributes:
        at_us: when the try failed, µs UTC.
        cause: why.
        detail: why, in words.
        next_retry_s: when the next try is due, seconds after `at_us`.
    """

    type: ClassVar[str] = "districam.stream.refused.v1"

    camera_id: CameraId
    at_us: Instant
    instance: Instance
    cause: Cause
    detail: Text = ""
    next_retry_s: Seconds = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """Fragments dropped on purpose, before the log; acknowledged before the epoch's next fragment is sent.

    Attributes:
        at_us: when it is told, µs UTC.
        first_seq: number of the first fragment dropped.
        last_seq: number of the last one, inclusive.
        start_us: where the range begins, µs UTC.
        end_us: where it ends, µs UTC, exclusive.
        access_units: pictures in it.
        bytes: their size.
        cause: why.
    """

    type: ClassVar[str] = "districam.stream.shed.v1"

    camera_id: CameraId
    at_us: Instant
    instance: Instance
    epoch: Epoch
    first_seq: Seq
    last_seq: Seq
    start_us: Instant
    end_us: Instant
    access_units: Count
    bytes: Count
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the camera is seen to be, and its defects in words.

    Attributes:
        at_us: when it was seen, µs UTC.
        codecs: RFC 6381, such as `avc1.640028`.
        width, height: pixels.
        fps: pictures a second; null while unknown.
        gop_s: the longest distance of two successive keyframes of this epoch so far, seconds; null before the second one.
        audio: codec of the sound; null if there is none.
        b_frames: whether pictures are reordered.
        defects: what is wrong with the stream, in words, and what would mend it.
        bits_per_s: of pictures, in the last ten seconds.
        lost_packets: known to be missing, in the last ten seconds; null if the reader does not know.
        jitter_s: interarrival jitter of pictures, with the grain of the reader's ticks; null while unknown.
        reports: whether the camera tells its clock (RTCP sender reports); null while it may yet.
        clock_offset_s: the camera's clock minus ours; null while unknown.
        clock_drift_ppm: by how much it runs faster than ours; null while unknown.
        transport: over which media come.
        auth: `basic` or `digest`, if the camera asks for a password and the reader knows.
        server: what it calls itself.
    """

    type: ClassVar[str] = "districam.stream.profile.v1"

    camera_id: CameraId
    at_us: Instant
    instance: Instance
    codecs: Codecs
    width: Count
    height: Count
    fps: float | None = None
    gop_s: float | None = None
    audio: Token | None = None
    b_frames: bool = False
    defects: Defects = ()
    bits_per_s: Count | None = None
    lost_packets: Count | None = None
    jitter_s: float | None = None
    reports: bool | None = None
    clock_offset_s: float | None = None
    clock_drift_ppm: float | None = None
    transport: Token | None = None
    auth: Token | None = None
    server: Banner | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStep:
    """The camera's own clock has stepped against ours.

    Attributes:
        at_us: when that was seen, µs UTC by our clock.
        offset_us: the camera's clock minus ours, now, µs.
        step_us: the step it made, µs.
    """

    type: ClassVar[str] = "districam.stream.clock.v1"

    camera_id: CameraId
    at_us: Instant
    instance: Instance
    offset_us: SignedUs
    step_us: SignedUs


@dataclass(frozen=True, slots=True, kw_only=True)
class FootageExpired:
    """Retention let go of a range; published before anything of it is deleted.

    Attributes:
        at_us: when that was decided, µs UTC.
        from_us: where the range begins, µs UTC.
        to_us: where it ends, µs UTC, exclusive.
        reason: in words.
    """

    type: ClassVar[str] = "districam.footage.expired.v1"

    camera_id: CameraId
    at_us: Instant
    instance: Instance
    from_us: Instant
    to_us: Instant
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionTruncated:
    """Fragments fell off Kafka's retention before they were stored, or could not be read. The one event without a camera.

    Attributes:
        partition: of `districam.fragments.v1`; as text it is the record's key.
        at_us: when that was found, µs UTC.
        from_us: how far the partition was stored, or the earliest that what cannot be read may begin, µs UTC.
        to_us: when the first record that is left was appended, a second more where records could not be read, µs UTC.
    """

    type: ClassVar[str] = "districam.partition.fell.v1"

    partition: Annotated[int, Field(ge=0, le=INT32_MAX)]
    at_us: Instant
    instance: Instance
    from_us: Instant
    to_us: Instant


CameraEvent = Connected | Lost | Refused | Shed | Profile | ClockStep | FootageExpired
StreamEvent = CameraEvent | PartitionTruncated
STREAM_EVENTS: dict[str, type[StreamEvent]] = {
    kind.type: kind for kind in (Connected, Lost, Refused, Shed, Profile, ClockStep, FootageExpired, PartitionTruncated)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that can never be processed: where it lies and why; never its payload.

    Attributes:
        topic: where it lies.
        partition: where in the topic.
        offset: where in the partition.
        key: its key, up to 200 characters; what is not UTF-8 is replaced.
        reason: what is wrong, naming the header or field.
        service: who could not process it.
    """

    type: ClassVar[str] = "districam.deadletter.v1"

    topic: str
    partition: Annotated[int, Field(ge=0, le=INT32_MAX)]
    offset: Count
    key: str
    reason: str
    service: str
