"""The JSON records of the topics as plain values: cameras, stored segments, stream events, dead letters."""

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
"""Why an instant is not stored (docs/design/contract.md, Causes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A camera's position, WGS 84.

    Attributes:
        latitude: degrees, north positive.
        longitude: degrees, east positive.
        heading_deg: viewing direction, degrees clockwise from north.
        place: free text of the operator, such as a street.
    """

    latitude: float
    longitude: float
    heading_deg: float | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One revision of a camera's record. The last record of a key is current; the ledger uses the earlier ones.

    Attributes:
        name: display name.
        url: `rtsp://host:port/path` or `rtsps://…`, never with user or password.
        credential: name of an entry in ingest's credentials file; null for none.
        transport: RTP transport: over the RTSP connection (`tcp`) or in datagrams (`udp`).
        reader: which RTSP reader to use.
        single_client: the camera serves one client only, so two replicas never overlap on it.
        enabled: whether the camera is recorded.
        audio: whether its audio is recorded.
        segment_s: target length of a segment, seconds.
        keyframe_interval_s: minimum distance of two stills, seconds.
        retention_days: how long its footage is kept, days.
        groups: names of the groups it belongs to.
        location: its position, if known.
        deleted: the camera has been removed; its footage stays until its retention ends.
        revision: number of this revision, from 1.
        updated_us: when this revision took effect, µs UTC; grows with each revision.
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
        """Whether footage is expected while this revision is current."""
        return self.enabled and not self.deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStored:
    """A segment is stored as an object. Depends on its content alone, so that a repeated upload gives an equal record.

    Attributes:
        first_seq: number of its first fragment.
        last_seq: number of its last fragment, inclusive.
        start_us: decode time of its first access unit, µs UTC.
        end_us: where the next access unit would start, µs UTC, exclusive.
        bytes: size of the object.
        init_bytes: size of `ftyp` + `moov` at the front of the object.
        access_units: number of pictures.
        lost_packets: number of RTP packets known to be missing.
        damaged: number of pictures known to be incomplete.
        codecs: RFC 6381, such as `avc1.640028`.
        width, height: pixels.
        starts_with_keyframe: whether its first access unit can be decoded alone.
        bucket: the object's bucket.
        key: the object's key in the bucket.
        sha256: hex digest of the whole object.
        camera_start_us: the camera's own clock at the start, µs UTC; null if the camera sends no clock.
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
        at_us: start of its first access unit, µs UTC, also in the repeats.
        reader: the RTSP reader in use.
        transport: the RTP transport in use.
        codecs: RFC 6381, such as `avc1.640028`.
        width, height: pixels.
        server: the RTSP `Server` header; null if the camera sends none.
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
        at_us: when the end was detected, µs UTC.
        last_seq: number of its last fragment.
        end_us: end of its footage, µs UTC, exclusive.
        cause: why it ended.
        detail: the cause in words.
        next_retry_s: when the next connection attempt is due, seconds after `at_us`.
        interrupted: whether pictures may be missing after it: the connection ended too, or the pictures that followed are
            in no epoch. If false or absent, the next epoch begins with the very next picture.
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
    """A connection attempt failed before an epoch began. Sent for each failed attempt.

    Attributes:
        at_us: when the attempt failed, µs UTC.
        cause: why it failed.
        detail: the cause in words.
        next_retry_s: when the next attempt is due, seconds after `at_us`.
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
    """Fragments that ingest dropped on purpose before Kafka; acknowledged before the epoch's next fragment is sent.

    Attributes:
        at_us: when the event was made, µs UTC.
        first_seq: number of the first fragment dropped.
        last_seq: number of the last one, inclusive.
        start_us: start of the dropped range, µs UTC.
        end_us: its end, µs UTC, exclusive.
        access_units: number of pictures dropped.
        bytes: size of the fragments dropped.
        cause: why they were dropped.
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
    """Properties of the stream as measured, and its defects in words.

    Attributes:
        at_us: when it was measured, µs UTC.
        codecs: RFC 6381, such as `avc1.640028`.
        width, height: pixels.
        fps: pictures per second; null while unknown.
        gop_s: the longest distance of two successive keyframes of this epoch so far, seconds; null before the second one.
        audio: audio codec; null without audio.
        b_frames: whether pictures are reordered.
        defects: what is wrong with the stream, in words, and how to correct it.
        bits_per_s: bit rate of the video over the last ten seconds.
        lost_packets: RTP packets missing in the last ten seconds; null if the reader cannot tell.
        jitter_s: interarrival jitter of pictures, in steps of the reader's clock rate; null while unknown.
        reports: whether the camera sends its clock (RTCP sender reports); null while undecided.
        clock_offset_s: the camera's clock minus ours; null while unknown.
        clock_drift_ppm: by how much it runs faster than ours; null while unknown.
        transport: the RTP transport in use.
        auth: `basic` or `digest`, if the camera requires authentication and the reader knows the scheme.
        server: the RTSP `Server` header.
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
        at_us: when the step was detected, µs UTC by our clock.
        offset_us: the camera's clock minus ours after the step, µs.
        step_us: size of the step, µs.
    """

    type: ClassVar[str] = "districam.stream.clock.v1"

    camera_id: CameraId
    at_us: Instant
    instance: Instance
    offset_us: SignedUs
    step_us: SignedUs


@dataclass(frozen=True, slots=True, kw_only=True)
class FootageExpired:
    """Retention deletes this range of footage; published before any of it is deleted.

    Attributes:
        at_us: when the deletion was decided, µs UTC.
        from_us: start of the range, µs UTC.
        to_us: its end, µs UTC, exclusive.
        reason: why, in words.
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
    """Kafka deleted fragments before they were stored, or they could not be read. The only event without a camera.

    Attributes:
        partition: of `districam.fragments.v1`; as text it is the record's key.
        at_us: when the loss was found, µs UTC.
        from_us: up to when the partition was stored, or the earliest start of the unreadable records, µs UTC.
        to_us: append time of the first remaining record, plus a second if records were unreadable, µs UTC.
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
    """A record that can never be processed: its position and the reason; never its payload.

    Attributes:
        topic: the record's topic.
        partition: its partition.
        offset: its offset.
        key: its key, up to 200 characters; bytes that are not UTF-8 are replaced.
        reason: what is wrong, naming the header or field.
        service: the service that could not process it.
    """

    type: ClassVar[str] = "districam.deadletter.v1"

    topic: str
    partition: Annotated[int, Field(ge=0, le=INT32_MAX)]
    offset: Count
    key: str
    reason: str
    service: str
