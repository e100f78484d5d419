"""Encodes and decodes Kafka records: CloudEvents 1.0, Kafka binary content mode. Decoding raises only `WireError`."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from districam_common.contract import camera_fields
from districam_common.contract.clock_probe import ClockProbe
from districam_common.contract.events import (
    STREAM_EVENTS,
    Camera,
    Connected,
    DeadLetter,
    FootageExpired,
    Lost,
    PartitionTruncated,
    Refused,
    SegmentStored,
    StreamEvent,
)
from districam_common.contract.header_reader import HeaderReader, ReceivedHeaders, WireError
from districam_common.contract.media import CAMERA_ID, CODECS, EndKind, Fragment, FragmentInfo, Still
from districam_common.contract.names import format_rfc3339

__all__ = [
    "FRAGMENT_TYPE",
    "KEYFRAME_TYPE",
    "Envelope",
    "Headers",
    "Message",
    "ReceivedHeaders",
    "WireError",
    "append_time_suffix",
    "camera_message",
    "deadletter_message",
    "decode_camera",
    "decode_event",
    "decode_expired",
    "decode_fragment",
    "decode_indexed_event",
    "decode_json",
    "decode_still",
    "decode_stored",
    "encode_indexed_event",
    "encode_json",
    "event_message",
    "fragment_message",
    "invalid_fields",
    "optional_append_time",
    "probe_message",
    "still_message",
    "stored_message",
    "type_adapter",
]

Headers = list[tuple[str, bytes]]
T = TypeVar("T")
JSON_TYPES: tuple[type[Any], ...] = (Camera, SegmentStored, *STREAM_EVENTS.values(), DeadLetter, ClockProbe)
"""The types whose values travel as JSON."""
EventSender = Literal["ingest", "recorder", "indexer"]
"""The services that publish stream events."""
K = TypeVar("K", Camera, SegmentStored, FootageExpired)

FRAGMENT_TYPE = "districam.fragment.v1"
KEYFRAME_TYPE = "districam.keyframe.v1"
MAX_STILL_BYTES = 4 << 20
"""Maximum size of a still's JPEG: Redis holds the newest one of each camera in memory."""


@dataclass(frozen=True, slots=True)
class Message:
    """A record for the producer."""

    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The CloudEvents attributes that do not come from the value itself."""

    site: str
    service: str
    id: str

    @property
    def source(self) -> str:
        return f"/districam/{self.site}/{self.service}"


def _headers(envelope: Envelope, kind: str, subject: str, at_us: int, content_type: str) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", envelope.id.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_type", kind.encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", format_rfc3339(at_us).encode()),
        ("content-type", content_type.encode()),
    ]


# ---- fragments and stills


def fragment_message(fragment: Fragment, *, site: str) -> Message:
    """The record of a fragment; its `ce_id` is `{epoch}/{seq}`."""
    info = fragment.info
    envelope = Envelope(site=site, service="ingest", id=f"{info.epoch}/{info.seq}")
    headers = _headers(envelope, FRAGMENT_TYPE, info.camera_id, info.start_us, "video/mp4")
    extensions: list[tuple[str, str | int | None]] = [
        ("epoch", info.epoch),
        ("seq", info.seq),
        ("durationus", info.duration_us),
        ("initlength", info.init_length),
        ("keyframe", "true" if info.is_keyframe else "false"),
        ("starts", "segment" if info.starts_segment else None),
        ("ends", info.ends),
        ("accessunits", info.access_units),
        ("lostpackets", info.lost_packets or None),
        ("damaged", info.damaged or None),
        ("codecs", info.codecs),
        ("width", info.width),
        ("height", info.height),
        ("cameratime", None if info.camera_start_us is None else format_rfc3339(info.camera_start_us)),
    ]
    headers += [(f"ce_{name}", str(value).encode()) for name, value in extensions if value is not None]
    return Message(info.camera_id.encode(), fragment.value, headers)


def still_message(still: Still, *, site: str) -> Message:
    """The record of a still; its `ce_id` is `{epoch}/{seq}`."""
    envelope = Envelope(site=site, service="ingest", id=f"{still.epoch}/{still.seq}")
    headers = _headers(envelope, KEYFRAME_TYPE, still.camera_id, still.at_us, "image/jpeg")
    for name, value in (("epoch", still.epoch), ("seq", still.seq), ("width", still.width), ("height", still.height)):
        headers.append((f"ce_{name}", str(value).encode()))
    return Message(still.camera_id.encode(), still.jpeg, headers)


def decode_fragment(key: bytes | None, headers: ReceivedHeaders, value: bytes | None) -> Fragment:
    """Decodes and validates a fragment's record.

    Raises:
        WireError: a header is missing or malformed, or the value has no `ftyp` in front and no `moof` at `ce_initlength`.
    """
    read = HeaderReader(headers)
    read.expect("ce_specversion", "1.0")
    read.expect("ce_type", FRAGMENT_TYPE)
    info = FragmentInfo(
        camera_id=_subject(key, read),
        epoch=read.epoch(),
        seq=read.integer("ce_seq"),
        start_us=read.instant("ce_time"),
        duration_us=read.integer("ce_durationus", max_value=2**32 - 1),
        init_length=read.integer("ce_initlength", max_value=2**16 - 1),
        is_keyframe=read.expect("ce_keyframe", "true", "false") == "true",
        starts_segment=read.has("ce_starts") and read.expect("ce_starts", "segment") == "segment",
        ends=_ends(read),
        access_units=read.integer("ce_accessunits"),
        lost_packets=read.integer("ce_lostpackets", 0),
        damaged=read.integer("ce_damaged", 0),
        codecs=read.match("ce_codecs", CODECS, "RFC 6381, 200 characters at most"),
        width=read.integer("ce_width"),
        height=read.integer("ce_height"),
        camera_start_us=read.unbounded_instant("ce_cameratime") if read.has("ce_cameratime") else None,
    )
    body = value or b""
    if body[4:8] != b"ftyp" or body[info.init_length + 4 : info.init_length + 8] != b"moof":
        raise WireError("the value is not ftyp, moov, then moof at ce_initlength")
    return Fragment(info, body)


def _ends(read: HeaderReader) -> EndKind | None:
    if not read.has("ce_ends"):
        return None
    return "epoch" if read.expect("ce_ends", "segment", "epoch") == "epoch" else "segment"


def _subject(key: bytes | None, read: HeaderReader) -> str:
    subject = read.match("ce_subject", CAMERA_ID, "a camera id")
    if key != subject.encode():
        raise WireError(f"the key {key!r:.40} differs from ce_subject {subject[:40]!r}")
    return subject


def decode_still(key: bytes | None, headers: ReceivedHeaders, value: bytes | None) -> Still:
    """Decodes and validates a still's record.

    Raises:
        WireError: a header is missing or malformed, or the value is not a JPEG of at most `MAX_STILL_BYTES`.
    """
    read = HeaderReader(headers)
    read.expect("ce_type", KEYFRAME_TYPE)
    if not value or value[:2] != b"\xff\xd8":
        raise WireError("the value is not a JPEG")
    if len(value) > MAX_STILL_BYTES:
        raise WireError(f"the value has {len(value)} bytes; the maximum of a still is {MAX_STILL_BYTES}")
    return Still(
        camera_id=_subject(key, read),
        epoch=read.epoch(),
        seq=read.integer("ce_seq"),
        at_us=read.instant("ce_time"),
        width=read.integer("ce_width"),
        height=read.integer("ce_height"),
        jpeg=value,
    )


# ---- JSON records


def camera_message(camera: Camera, *, site: str) -> Message:
    """The record of a camera's revision; its `ce_id` is `{camera_id}/{revision}`."""
    envelope = Envelope(site=site, service="cameras", id=f"{camera.camera_id}/{camera.revision}")
    return _json_message(envelope, camera.type, camera.camera_id, camera.updated_us, camera)


def stored_message(stored: SegmentStored, *, site: str) -> Message:
    """The announcement of a stored segment; its `ce_id` is the object's key."""
    envelope = Envelope(site=site, service="recorder", id=stored.key)
    return _json_message(envelope, stored.type, stored.camera_id, stored.start_us, stored)


def event_message(event: StreamEvent, counter: int, *, site: str, service: EventSender) -> Message:
    """The record of a stream event; its `ce_id` is `{instance}/{counter}`."""
    envelope = Envelope(site=site, service=service, id=f"{event.instance}/{counter}")
    subject = str(event.partition) if isinstance(event, PartitionTruncated) else event.camera_id
    return _json_message(envelope, event.type, subject, event.at_us, event)


def deadletter_message(letter: DeadLetter, *, site: str, at_us: int) -> Message:
    """The record of a dead letter; its `ce_id` is the rejected record's `{topic}/{partition}/{offset}`."""
    envelope = Envelope(site=site, service=letter.service, id=f"{letter.topic}/{letter.partition}/{letter.offset}")
    return _json_message(envelope, letter.type, letter.key, at_us, letter)


def probe_message(probe: ClockProbe, counter: int, *, site: str) -> Message:
    """The record of a clock probe; its `ce_id` is `{instance}/clock/{counter}`."""
    envelope = Envelope(site=site, service="ingest", id=f"{probe.instance}/clock/{counter}")
    return _json_message(envelope, probe.type, probe.instance, probe.sent_us, probe)


def _json_message(envelope: Envelope, kind: str, subject: str, at_us: int, value: Any) -> Message:
    headers = _headers(envelope, kind, subject, at_us, "application/json")
    return Message(subject.encode(), encode_json(value), headers)


@cache
def type_adapter(kind: type[T]) -> TypeAdapter[T]:
    """Pydantic's validator and serializer of one of our dataclasses; cached, since building one is slow."""
    return TypeAdapter(kind)


def encode_json(value: object) -> bytes:
    """A contract value as JSON."""
    return type_adapter(type(value)).dump_json(value)


def decode_json(kind: type[T], data: bytes | str | None) -> T:
    """A contract value from JSON. Unknown fields are ignored, so that additions stay compatible.

    Raises:
        WireError: not valid JSON of `kind`; names the first field at fault.
    """
    try:
        return type_adapter(kind).validate_json(data or b"")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "value"
        raise WireError(f"{kind.__name__}.{field}: {first['msg']}") from error


def invalid_fields(error: WireError) -> set[str]:
    """Top-level names of the fields that `decode_json` found invalid; empty if the value as a whole is."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return set()
    locations = [one["loc"] for one in cause.errors()]
    return {str(place[0]) for place in locations} if all(locations) else set()


def decode_camera(key: bytes | None, headers: ReceivedHeaders, value: bytes | None) -> Camera:
    """Decodes a camera's revision; its fields are validated like an entry of the operator's file.

    Raises:
        WireError: the record is not a valid camera.
    """
    out = _decode_keyed(Camera, key, headers, value)
    if (problem := camera_fields.first_problem(out)) is not None:
        raise WireError(f"Camera.{problem}")
    return out


def decode_stored(key: bytes | None, headers: ReceivedHeaders, value: bytes | None) -> SegmentStored:
    """Decodes the announcement of a stored segment.

    Raises:
        WireError: the record is not a valid announcement.
    """
    return _decode_keyed(SegmentStored, key, headers, value)


def decode_event(key: bytes | None, headers: ReceivedHeaders, value: bytes | None) -> StreamEvent:
    """Decodes a stream event of any type.

    Raises:
        WireError: the type is unknown or the record is not valid.
    """
    kind = STREAM_EVENTS[HeaderReader(headers).expect("ce_type", *STREAM_EVENTS)]
    out = decode_json(kind, value)
    _require_key(key, str(out.partition) if isinstance(out, PartitionTruncated) else out.camera_id)
    return out


def decode_expired(key: bytes | None, headers: ReceivedHeaders, value: bytes | None) -> FootageExpired:
    """Decodes a record of `districam.retention.v1`: a range of footage that retention deletes.

    Raises:
        WireError: the record is not a valid `FootageExpired`.
    """
    return _decode_keyed(FootageExpired, key, headers, value)


def _decode_keyed(kind: type[K], key: bytes | None, headers: ReceivedHeaders, value: bytes | None) -> K:
    HeaderReader(headers).expect("ce_type", kind.type)
    out = decode_json(kind, value)
    _require_key(key, out.camera_id)
    return out


def _require_key(key: bytes | None, name: str) -> None:
    if key != name.encode():
        raise WireError(f"the key {key!r:.40} differs from the value's {name[:40]!r}")


# ---- events inside the index


def encode_indexed_event(event: StreamEvent, appended_us: int | None) -> bytes:
    """The event as stored in the index: JSON with its type first, and last its append time if the ledger needs it."""
    body = encode_json(event)[1:-1]
    is_ranked = isinstance(event, Lost | Refused) or (isinstance(event, Connected) and not event.repeated)
    return b'{"type":"' + event.type.encode() + b'",' + body + append_time_suffix(appended_us if is_ranked else None)


def append_time_suffix(appended_us: int | None) -> bytes:
    """The end of an indexed JSON object: `appended_us`, if known, and the closing brace."""
    return b"}" if appended_us is None else b',"appended_us":%d}' % appended_us


def decode_indexed_event(data: bytes) -> tuple[StreamEvent, int | None]:
    """The inverse of `encode_indexed_event`: the event, and its append time or None.

    Raises:
        WireError: not an event as stored in the index.
    """
    kind_name, appended = _decode_indexed_head(data)
    if kind_name not in STREAM_EVENTS:
        raise WireError(f"unknown event type {kind_name[:60]!r}")
    return decode_json(STREAM_EVENTS[kind_name], data), appended


def _decode_indexed_head(data: bytes) -> tuple[str, int | None]:
    try:
        head = json.loads(data)
        return str(head["type"]), optional_append_time(head.get("appended_us"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError("an indexed event is not a JSON object with a type") from error


def optional_append_time(appended_us: object) -> int | None:
    """Validates an append time read from the index: µs UTC, or None if unknown. Raises WireError."""
    if appended_us is not None and type(appended_us) is not int:
        raise WireError(f"appended_us is not an integer: {appended_us!r:.40}")
    return appended_us
