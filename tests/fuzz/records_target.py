"""Records of every topic, and values of the index and the bucket, as their readers parse them.

An input is a list of records separated by a line `--`: topic, key, headers as `name: value` up to an empty
line, value. `index` and similar names in place of the topic denote values read from Redis and the bucket.
"""

import base64
import json
from collections.abc import Callable, Iterable
from contextlib import suppress

from districam_api.core import cursors
from districam_api.core.invalid_parameter import InvalidParameter
from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import DeadLetter, SegmentStored, StreamEvent
from districam_common.errors import Rejected
from districam_common.index import index_codec, indexed_camera, revisions
from districam_common.kafka import marks
from districam_common.ledger.holds import Hold
from districam_common.ledger.ledger import LoggedEvent
from districam_indexer.core import decode
from districam_recorder.core import checkpoint, objects
from districam_recorder.core.assembler import Segment
from districam_recorder.core.checkpoint import Checkpoint
from districam_recorder.core.partition_log import IncomingRecord, InvalidRecord, PartitionLog, SegmentLimits
from fuzz.target import Target, require
from support import golden

S, NOW_US = 1_000_000, 1_795_531_640_000_000
PART = b"\n--\n"
TOPICS = (
    names.FRAGMENTS,
    names.KEYFRAMES,
    names.CAMERAS,
    names.SEGMENTS,
    names.STREAMS,
    names.RETENTION,
    names.DEADLETTERS,
)
Record = tuple[str, bytes | None, list[tuple[str, bytes | None]], bytes]


def run(data: bytes) -> None:
    """A record is parsed or rejected with the declared error; a parsed one can be indexed, stored and encoded again."""
    log = PartitionLog(0, Checkpoint(), SegmentLimits(idle_us=15 * S, segment_max_bytes=2000))
    for offset, part in enumerate(data.split(PART)):
        topic, key, headers, value = _record(part)
        if topic == names.FRAGMENTS:
            _record_it(log, offset, key, headers, value)
        elif topic in TOPICS:
            _index_it(topic, key, headers, value)
        else:
            READERS.get(topic, _entry)(value)
    _store(log.report_end(NOW_US, NOW_US))
    _store(log.report_tail_truncation(None, 0))


def _record(part: bytes) -> Record:
    head, _, value = part.partition(b"\n\n")
    topic, key, *lines = [*head.split(b"\n"), b""]
    headers: list[tuple[str, bytes | None]] = []
    for line in lines:
        name, found, text = line.partition(b": ")
        headers.append((name.decode("utf-8", "replace"), text if found else None))
    return topic.decode("utf-8", "replace"), key or None, headers, value


# ---- the recorder


def _record_it(
    log: PartitionLog, offset: int, key: bytes | None, headers: list[tuple[str, bytes | None]], value: bytes
) -> None:
    try:
        content = wire.decode_fragment(key, headers, value)
    except wire.WireError as error:
        content = InvalidRecord("", str(error))
    else:
        again = wire.fragment_message(content, site="local")
        require(
            wire.decode_fragment(again.key, again.headers, again.value) == content,
            "a fragment is written otherwise than it was read",
        )
    _store(log.feed(IncomingRecord(log.position, NOW_US + offset * S, offset * S, content, f"e/{offset}")))


def _store(effects: Iterable[object]) -> None:
    for effect in effects:
        if not isinstance(effect, Segment):
            continue
        stored = objects.build_object(effect, "districam").stored
        again = objects.decode_metadata(objects.encode_metadata(stored))
        require(again == stored, f"metadata differ: {stored} {again}")
        message = wire.stored_message(stored, site="local")
        value = decode.decode(names.SEGMENTS, message.key, message.headers, message.value)
        assert isinstance(value, SegmentStored)
        with suppress(Rejected):
            decode.plan(value, NOW_US, {})
        with suppress(ValueError):
            names.parse_segment_object_key(stored.key, stored.bytes)


# ---- the indexer


def _index_it(topic: str, key: bytes | None, headers: list[tuple[str, bytes | None]], value: bytes) -> None:
    if topic == names.DEADLETTERS:
        with suppress(wire.WireError):
            wire.decode_json(DeadLetter, value)
        return
    try:
        read = decode.decode(topic, key, headers, value)
        operations = decode.plan(read, NOW_US, {})
    except Rejected:
        return
    require(len(operations) < 1000, f"{len(operations)} operations of one record")
    decode.cameras_with_old_footage([read], NOW_US)
    decode.expired_by_camera([read])
    if isinstance(read, StreamEvent):
        body = wire.encode_indexed_event(read, NOW_US)
        require(wire.decode_indexed_event(body)[0] == read, "the index changes an event")


# ---- values in Redis and the bucket


def _entry(value: bytes) -> None:
    with suppress(ValueError):
        found = names.parse_segment_object_key(value.decode("utf-8", "replace"), len(value))
        member = segment_array.encode_member(found.entry)
        require(
            segment_array.entries_from_array(segment_array.decode_members([member], [found.entry.start_us]))
            == [found.entry],
            "a key's segment is indexed otherwise",
        )


def _members(value: bytes) -> None:
    size = segment_array.MEMBER_DTYPE.itemsize
    rows = [
        part for n in range(0, min(len(value), 40 * size), size) for part in (value[n : n + size], b"%d" % (NOW_US + n))
    ]
    found = segment_array.entries_from_array(index_codec.decode_segments_in_window([rows], 0, 2 * NOW_US))
    require(len(found) <= len(rows) // 2, "more segments than members")


def _event(value: bytes) -> None:
    with suppress(wire.WireError):
        event, appended_us = wire.decode_indexed_event(value)
        LoggedEvent(event, appended_us or None)  # type: ignore[arg-type]


def _revision(value: bytes) -> None:
    with suppress(wire.WireError):
        camera = revisions.decode_revision.__wrapped__(value)  # type: ignore[attr-defined]  # without its cache
        indexed_camera.encode_indexed_camera(camera, NOW_US)
        indexed_camera.decode_append_time(value)


def _hashes(value: bytes) -> None:
    pairs = [line.partition(b" ") for line in value.split(b"\n")]
    found = {name: text for name, _, text in pairs}
    index_codec.parse_numbers(found, "fuzz")
    index_codec.parse_usage(found)
    index_codec.parse_usage_by_hour(found, "cam-1")
    index_codec.parse_interval_members(found, "fuzz")
    index_codec.parse_expired(found.values(), "fuzz")
    index_codec.decode_values(Hold, found, "fuzz")


def _held(value: bytes) -> None:
    with suppress(wire.WireError):
        wire.decode_json(Hold, value)


def _committed(value: bytes) -> None:
    read = checkpoint.decode_checkpoint(value.decode("utf-8", "replace"))
    marks.add_mark(read.read, marks.Mark(1, NOW_US, "x"))
    checkpoint.encode_checkpoint(read)


def _named(value: bytes) -> None:
    text = value.decode("utf-8", "replace")
    readers: tuple[Callable[[str], object], ...] = (
        names.parse_rfc3339,
        names.parse_hour,
        names.parse_hour_prefix,
        names.parse_hold_key,
        names.parse_segments_key,
    )
    for read in readers:
        with suppress(ValueError, OverflowError):
            read(text)


def _decode_cursor(value: bytes) -> None:
    text = value.decode("utf-8", "replace")
    for one in (text, cursors.encode([text, 5]), base64.urlsafe_b64encode(value).decode()):
        with suppress(InvalidParameter):
            cursors.decode(one, (str, int))


READERS: dict[str, Callable[[bytes], None]] = {
    "members": _members,
    "event": _event,
    "revision": _revision,
    "hashes": _hashes,
    "hold": _held,
    "committed": _committed,
    "named": _named,
    "asked": _decode_cursor,
    "entry": _entry,
}


def _text(topic: str, message: wire.Message) -> bytes:
    lines = [name.encode() + b": " + value for name, value in message.headers]
    return b"\n".join([topic.encode(), message.key, *lines]) + b"\n\n" + message.value


TOPIC_BY_EXAMPLE = {
    "fragment, first": names.FRAGMENTS,
    "fragment, last": names.FRAGMENTS,
    "keyframe": names.KEYFRAMES,
    "camera": names.CAMERAS,
    "stored": names.SEGMENTS,
    "deadletter": names.DEADLETTERS,
    "expired": names.RETENTION,
}


def seeds() -> list[bytes]:
    records = [
        _text(TOPIC_BY_EXAMPLE.get(name, names.STREAMS), message)
        for name, message in golden.RECORDS.items()
        if name != "probe"
    ]
    fragment = next(one for one in records if one.startswith(names.FRAGMENTS.encode()))
    following = [fragment.replace(b"ce_seq: 4", b"ce_seq: %d" % n).replace(b"/4\n", b"/%d\n" % n) for n in (4, 5, 5, 7)]
    committed = {
        "log_us": NOW_US,
        "seq": {"019abc4e-7a00-7123-8456-0123456789ab": 4},
        "since_us": NOW_US,
        "read": [[3, NOW_US, "e/3"]],
    }
    packed = {"log_us": 1, "seqs": base64.b64encode(bytes(40)).decode()}
    key = b"gate-1/2026-11-24/14/47-00.123456Z.019abc4e-7a00-7123-8456-0123456789ab.0-4.10000000.20.03.mp4"
    return [
        *records,
        PART.join(following),
        PART.join(records[:3]),
        b"members\n\n" + golden.MEMBER * 3,
        b"event\n\n" + golden.INDEXED,
        b"revision\n\n" + golden.RECORDS["camera"].value,
        b"revision\n\n" + golden.RECORDS["camera"].value.replace(b'"tcp"', b'"srt"'),
        b"hashes\n\ncam-1 5\n2026-11-24T14 7\n5-9 5-9\n7 {}",
        b"committed\n\n" + json.dumps(committed).encode(),
        b"committed\n\n" + json.dumps(packed).encode(),
        b"entry\n\n" + key,
        *(
            b"named\n\n" + one
            for one in (
                b"2026-11-24T14:47:00.123456+07:00",
                b"2026-11-24T14",
                b"gate-1/2026-11-24/14/",
                b"dc1:segments:gate-1:2026-11-24T14",
            )
        ),
        b"asked\n\nWyJhIiw1XQ",
    ]


WORDS = (
    *(name.encode() for name in TOPICS),
    *(
        f"ce_{name}: ".encode()
        for name in (
            "type",
            "subject",
            "time",
            "epoch",
            "seq",
            "durationus",
            "initlength",
            "keyframe",
            "starts",
            "ends",
            "accessunits",
            "lostpackets",
            "damaged",
            "codecs",
            "width",
            "height",
            "cameratime",
        )
    ),
    *(
        b"districam.stream.connected.v1",
        b"districam.footage.expired.v1",
        b"districam.partition.fell.v1",
        b"districam.segment.stored.v1",
        b"districam.camera.v1",
        PART,
    ),
    *(
        b"null",
        b"NaN",
        b"1e999",
        b"true",
        b"9007199254740992",
        b"-1",
        b"\\ud800",
        b"2255-06-05T23:47:34.740992Z",
        b"1969-12-31T23:59:59Z",
        b"segment",
        b"epoch",
    ),
    *(f"{name}\n\n".encode() for name in READERS),
)
RECORDS = Target(name="records", run=run, seeds=seeds, max_bytes=3000, dictionary=WORDS)
