import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from districam_common.contract import wire
from districam_common.contract.events import STREAM_EVENTS as KINDS
from districam_common.contract.events import (
    Camera,
    Connected,
    DeadLetter,
    FootageExpired,
    Lost,
    PartitionTruncated,
    Profile,
    Refused,
    SegmentStored,
    StreamEvent,
)
from districam_common.contract.media import Fragment, Still
from districam_common.contract.wire import Headers, Message, WireError
from support import golden
from support.values import CAMERAS, DEAD_LETTERS, INSTANTS, STILLS, STORED_SEGMENTS, STREAM_EVENTS, fragments

Decoder = Callable[[bytes | None, wire.ReceivedHeaders, bytes | None], object]
DECODERS: list[Decoder] = [
    wire.decode_fragment,
    wire.decode_still,
    wire.decode_camera,
    wire.decode_stored,
    wire.decode_event,
]


def changed(message: Message, **headers: bytes | None) -> Headers:
    """The message's headers with some replaced, or left out for None."""
    given_headers = dict[str, bytes | None](message.headers) | headers
    return [(name, value) for name, value in given_headers.items() if value is not None]


@given(fragments())
def test_fragments_round_trip(fragment: Fragment) -> None:
    made = wire.fragment_message(fragment, site="local")
    assert wire.decode_fragment(made.key, made.headers, made.value) == fragment
    assert made.key == fragment.info.camera_id.encode()
    headers = dict(made.headers)
    assert headers["ce_id"] == f"{fragment.info.epoch}/{fragment.info.seq}".encode()
    assert headers["ce_source"] == b"/districam/local/ingest"
    assert ("ce_lostpackets" in headers) == (fragment.info.lost_packets > 0)


@given(STILLS)
def test_stills_round_trip(still: Still) -> None:
    made = wire.still_message(still, site="local")
    assert wire.decode_still(made.key, made.headers, made.value) == still


@given(CAMERAS)
def test_cameras_round_trip(camera: Camera) -> None:
    made = wire.camera_message(camera, site="local")
    assert wire.decode_camera(made.key, made.headers, made.value) == camera


URL = "rtsp://10.0.0.1/1"
BAD_CAMERAS: list[tuple[str, Any]] = [
    *(
        ("url", one)
        for one in (
            "file:///etc/passwd", "http://169.254.169.254/latest/meta-data", "concat:/a|/b", "tcp://10.0.0.1:22",
            "subfile,,start,0,end,9,,:/etc/passwd", "rtsp://viewer:S3cret@10.0.0.1/1", "rtsp://10.0.0.1/?password=S3cret",
            "rtsp://", "rtsp:///1", "rtsp://10.0.0.1:0/", "rtsp://[::1/", "rtsp://10.0.0.1:port/", "rtsp://a b/", "", " ",
            "rtsp://10.0.0.1/" + "a" * 300, "rtsp://10.0.0.1/\r\nTEARDOWN",
        )
    ),
    *(("name", one) for one in ("", "  ", "a" * 301, "a\nb", "\u202e", "\x1b[2J")),
    *(("credential", one) for one in ("", "../gate", "a" * 64, "gate\n")),
    *(("groups", one) for one in ([""], ["a\nb"], ["a" * 301], ["a"] * 101)),
    *(
        ("location", {"latitude": 1, "longitude": 2} | one)
        for one in ({"latitude": 91}, {"longitude": -181}, {"heading_deg": 361}, {"place": "a\nb"}, {"place": "a" * 301})
    ),
]  # fmt: skip


@pytest.mark.hostile
@pytest.mark.parametrize(("field", "value"), BAD_CAMERAS)
def test_a_camera_record_is_validated_like_the_operators_file(field: str, value: object) -> None:
    good = wire.camera_message(Camera(camera_id="cam-1", name="Cổng", url=URL), site="local")
    bad = json.dumps(json.loads(good.value) | {field: value}).encode()
    with pytest.raises(WireError, match=rf"Camera\.{field}") as refused:
        wire.decode_camera(good.key, good.headers, bad)
    assert "S3cret" not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.hostile
def test_a_still_over_the_maximum_size_is_rejected() -> None:
    still = Still(
        camera_id="c", epoch=_EPOCH["epoch"], seq=0, at_us=1, width=1, height=1, jpeg=b"\xff\xd8" + bytes(4 << 20)
    )  # fmt: skip
    made = wire.still_message(still, site="local")
    with pytest.raises(WireError, match="maximum of a still"):
        wire.decode_still(made.key, made.headers, made.value)


@pytest.mark.hostile
def test_texts_of_an_announcement_are_truncated_to_their_maximum() -> None:
    good = RECORDS[SegmentStored.type]
    long = dict.fromkeys(("codecs", "bucket", "key", "sha256"), "x" * 100_000)
    read = wire.decode_stored(good.key, good.headers, json.dumps(json.loads(good.value) | long).encode())
    assert max(map(len, (read.codecs, read.bucket, read.key, read.sha256))) <= 500


@given(STORED_SEGMENTS)
def test_announcements_round_trip(stored: SegmentStored) -> None:
    made = wire.stored_message(stored, site="local")
    assert wire.decode_stored(made.key, made.headers, made.value) == stored
    assert dict(made.headers)["ce_id"] == stored.key.encode()


@given(STREAM_EVENTS)
def test_events_round_trip(event: StreamEvent) -> None:
    made = wire.event_message(event, 7, site="local", service="ingest")
    assert wire.decode_event(made.key, made.headers, made.value) == event
    subject = str(event.partition) if isinstance(event, PartitionTruncated) else event.camera_id
    assert made.key == dict(made.headers)["ce_subject"] == subject.encode()
    assert dict(made.headers)["ce_id"] == f"{event.instance}/7".encode()


@given(STREAM_EVENTS, INSTANTS)
def test_indexed_events_round_trip_with_append_times_of_status_events(event: StreamEvent, at_us: int) -> None:
    is_ranked = isinstance(event, Lost | Refused) or (isinstance(event, Connected) and not event.repeated)
    appended_us = at_us if is_ranked else None
    assert wire.decode_indexed_event(wire.encode_indexed_event(event, at_us)) == (event, appended_us)


@given(DEAD_LETTERS, INSTANTS)
def test_dead_letters_have_topic_partition_and_offset(letter: DeadLetter, at_us: int) -> None:
    made = wire.deadletter_message(letter, site="local", at_us=at_us)
    assert wire.decode_json(DeadLetter, made.value) == letter
    assert dict(made.headers)["ce_id"] == f"{letter.topic}/{letter.partition}/{letter.offset}".encode()


RECORDS = {dict(message.headers)["ce_type"].decode(): message for message in golden.RECORDS.values()}
JSON_KINDS: dict[Decoder, type[Camera | SegmentStored | Lost]] = {
    wire.decode_camera: Camera,
    wire.decode_stored: SegmentStored,
    wire.decode_event: Lost,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)
HEADER_NAMES = st.sampled_from(
    ["ce_specversion", "ce_type", "ce_subject", "ce_time", "ce_epoch", "ce_seq", "ce_initlength", "ce_ends"]
) | st.text(max_size=9)
HEADER_VALUES = st.binary(max_size=40) | st.sampled_from(
    [b"1.0", b"cam-1", b"1", b"2026-11-24T14:47:00Z", wire.FRAGMENT_TYPE.encode(), wire.KEYFRAME_TYPE.encode()]
    + [kind.encode() for kind in KINDS]
)
VALUES = st.none() | st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("decode", DECODERS)
@given(st.none() | st.binary(max_size=9), st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=9), VALUES)
def test_garbage_raises_wire_error(decode: Decoder, key: bytes | None, headers: Headers, value: bytes | None) -> None:
    with pytest.raises(WireError):
        decode(key, headers, value)


@given(fragments(), st.data())
def test_a_fragment_with_one_corrupt_header_raises_wire_error_or_decodes(
    fragment: Fragment, data: st.DataObject
) -> None:
    made = wire.fragment_message(fragment, site="local")
    spoilt = data.draw(st.sampled_from([name for name, _ in made.headers]))
    headers = changed(made, **{spoilt: data.draw(st.none() | HEADER_VALUES)})
    try:
        again = wire.decode_fragment(made.key, headers, made.value)
    except WireError:
        return
    assert wire.decode_fragment(made.key, wire.fragment_message(again, site="x").headers, made.value) == again


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), STREAM_EVENTS)
@example(b"[" * 100_000, PartitionTruncated(partition=1, at_us=0, instance="", from_us=0, to_us=1))
@example(b'{"type":"', PartitionTruncated(partition=1, at_us=0, instance="", from_us=0, to_us=1))
def test_a_garbage_indexed_event_raises_wire_error(garbage: bytes, event: StreamEvent) -> None:
    with pytest.raises(WireError):
        wire.decode_indexed_event(garbage)
    with pytest.raises(WireError):
        wire.decode_indexed_event(wire.encode_indexed_event(event, 0)[:-1] + garbage)


def test_an_indexed_event_of_unknown_type_or_append_time_raises_wire_error() -> None:
    with pytest.raises(WireError, match=r"unknown event type 'districam\.other\.v1'"):
        wire.decode_indexed_event(b'{"type":"districam.other.v1"}')
    with pytest.raises(WireError, match="appended_us is not an integer: 'soon'"):
        wire.decode_indexed_event(b'{"type":"districam.stream.lost.v1","appended_us":"soon"}')


@given(fragments())
def test_a_fragments_value_must_agree_with_its_headers(fragment: Fragment) -> None:
    made = wire.fragment_message(fragment, site="local")
    for headers, words in (
        (changed(made, ce_specversion=b"0.3"), "ce_specversion is '0.3', expected 1.0"),
        (changed(made, ce_type=b"districam.keyframe.v1"), "ce_type"),
        (changed(made, ce_seq=None), "ce_seq is missing"),
        (changed(made, ce_seq=b"-1"), "ce_seq is not an integer"),
        (changed(made, ce_seq=b"2147483648"), "ce_seq is not an integer from 0 to 2147483647"),
        (changed(made, ce_seq="٣".encode()), "ce_seq is not an integer"),
        (changed(made, ce_codecs=b"\xff"), "ce_codecs is not UTF-8"),
        (changed(made, ce_codecs="avc1.Đ".encode()), "ce_codecs is not RFC 6381"),
        (changed(made, ce_codecs=b"avc1\n"), "ce_codecs is not RFC 6381"),
        (changed(made, ce_codecs=b""), "ce_codecs is not RFC 6381"),
        (changed(made, ce_codecs=b"a" * 201), "ce_codecs is not RFC 6381, 200 characters at most"),
        (changed(made, ce_epoch=b"1"), "ce_epoch is not a UUID"),
        (changed(made, ce_epoch=b"x" * 36), "ce_epoch is not a UUID"),
        (changed(made, ce_epoch=fragment.info.epoch.replace("-", "/").encode()), "ce_epoch is not a UUID"),
        (changed(made, ce_time=b"1969-12-31T23:59:59.999999Z"), "ce_time is not between 1970 and 2255"),
        (changed(made, ce_time=b"9999-12-31T23:59:59.999999Z"), "ce_time is not between 1970 and 2255"),
        (changed(made, ce_cameratime=b"soon"), "ce_cameratime is not an RFC 3339 instant"),
        (changed(made, ce_starts=b"epoch"), "ce_starts"),
        (changed(made, ce_ends=b"fragment"), "ce_ends"),
        (changed(made, ce_time=b"2026-11-24T14:47:00"), "ce_time is not an RFC 3339 instant"),
        (changed(made, ce_initlength=b"0"), "moof at ce_initlength"),
    ):
        with pytest.raises(WireError, match=words):
            wire.decode_fragment(made.key, headers, made.value)
    for camera_id in (b"../elsewhere", b"_districam", b"Cam-1", b""):
        with pytest.raises(WireError, match="ce_subject is not a camera id"):
            wire.decode_fragment(camera_id, changed(made, ce_subject=camera_id), made.value)
    with pytest.raises(WireError, match="differs from ce_subject"):
        wire.decode_fragment(b"another", made.headers, made.value)
    with pytest.raises(WireError, match="not ftyp"):
        wire.decode_fragment(made.key, made.headers, None)


def test_a_cameras_own_clock_may_have_any_value() -> None:
    """A camera without a clock battery starts in 1900 (NTP); its footage is valid."""
    made = golden.RECORDS["fragment, first"]
    headers = [*made.headers, ("ce_cameratime", b"1900-01-01T00:00:00.000000Z")]
    camera_start_us = wire.decode_fragment(made.key, headers, made.value).info.camera_start_us
    assert camera_start_us is not None
    assert camera_start_us < 0


@pytest.mark.parametrize("decode", DECODERS)
def test_a_null_header_raises_wire_error(decode: Decoder) -> None:
    """Kafka allows null headers, CloudEvents do not."""
    for made in golden.RECORDS.values():
        for name, _ in made.headers:
            headers = [(key, None if key == name else value) for key, value in made.headers]
            with suppress(WireError):  # some decoders ignore some headers
                decode(made.key, headers, made.value)
    with pytest.raises(WireError, match="header ce_type is missing, or null"):
        decode(b"cam-1", [("ce_specversion", b"1.0"), ("ce_type", None)], b"{}")


def test_a_null_optional_header_raises_wire_error() -> None:
    made = golden.RECORDS["fragment, first"]
    for name in ("ce_starts", "ce_ends", "ce_lostpackets", "ce_damaged", "ce_cameratime"):
        with pytest.raises(WireError, match=f"header {name} is missing, or null"):
            wire.decode_fragment(made.key, [*made.headers, (name, None)], made.value)


@pytest.mark.parametrize("at_us", [-1, 2**53, 2**63, 10**30])
@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_an_event_with_an_instant_out_of_range_raises_wire_error(kind: type[StreamEvent], at_us: int) -> None:
    """Instants that a Redis score or RFC 3339 cannot represent, or negative ones."""
    given_fields = json.loads(RECORDS[kind.type].value) | {"at_us": at_us}
    headers = changed(RECORDS[kind.type])
    with pytest.raises(WireError, match=rf"{kind.__name__}\.at_us: "):
        wire.decode_event(RECORDS[kind.type].key, headers, json.dumps(given_fields).encode())


@pytest.mark.parametrize(
    ("decode", "field", "bad"),
    [
        (wire.decode_camera, "segment_s", 0),
        (wire.decode_camera, "keyframe_interval_s", -1),
        (wire.decode_camera, "retention_days", 0),
        (wire.decode_camera, "revision", 0),
        (wire.decode_camera, "updated_us", -1),
        (wire.decode_camera, "camera_id", "../cam-1"),
        (wire.decode_camera, "transport", "sctp"),
        (wire.decode_stored, "epoch", "1"),
        (wire.decode_stored, "first_seq", -1),
        (wire.decode_stored, "last_seq", 2**31),
        (wire.decode_stored, "start_us", -1),
        (wire.decode_stored, "end_us", 2**53),
        (wire.decode_stored, "bytes", -1),
        (wire.decode_stored, "camera_start_us", 2**63),
        (wire.decode_event, "cause", "bad luck"),
        (wire.decode_event, "next_retry_s", -1),
        (wire.decode_event, "next_retry_s", 1e300),
        (wire.decode_event, "next_retry_s", float("nan")),
        (wire.decode_event, "last_seq", -1),
    ],
)
def test_a_field_out_of_range_is_named_in_the_wire_error(decode: Decoder, field: str, bad: object) -> None:
    kind = JSON_KINDS[decode]
    good = RECORDS[kind.type]
    value = json.dumps(json.loads(good.value) | {field: bad}).encode()
    with pytest.raises(WireError, match=rf"{kind.__name__}\.{field}: "):
        decode(good.key, good.headers, value)


@given(STILLS)
def test_a_still_must_be_a_jpeg(still: Still) -> None:
    made = wire.still_message(still, site="local")
    for value in (None, b"", b"\x89PNG"):
        with pytest.raises(WireError, match="not a JPEG"):
            wire.decode_still(made.key, made.headers, value)


@given(CAMERAS)
def test_the_records_key_must_be_its_camera_id(camera: Camera) -> None:
    made = wire.camera_message(camera, site="local")
    with pytest.raises(WireError, match="differs from the value's"):
        wire.decode_camera(b"another-" + made.key, made.headers, made.value)


def test_an_error_names_the_field_and_unknown_fields_are_ignored() -> None:
    with pytest.raises(WireError, match=r"DeadLetter\.partition: "):
        wire.decode_json(DeadLetter, b'{"topic":"t","partition":"x","offset":1,"key":"","reason":"","service":""}')
    with pytest.raises(WireError, match=r"DeadLetter\.value: "):
        wire.decode_json(DeadLetter, b"")
    letter = DeadLetter(topic="t", partition=1, offset=2, key="k", reason="r", service="s")
    later = wire.encode_json(letter)[:-1] + b',"added_in_another_version":1}'
    assert wire.decode_json(DeadLetter, later) == letter
    assert replace(letter, key="") != letter


_WHO: dict[str, Any] = {"camera_id": "cam-1", "at_us": 1, "instance": "x"}
_EPOCH: dict[str, Any] = {"epoch": "01900000-0000-7000-8000-000000000001"}
_SHAPE: dict[str, Any] = {"codecs": "x", "width": 1, "height": 1}
WORDY: list[StreamEvent] = [
    Connected(**_WHO, **_EPOCH, **_SHAPE, reader="x", transport="x", server="x"),
    Lost(**_WHO, **_EPOCH, last_seq=1, end_us=1, cause="unknown", detail="x"),
    Refused(**_WHO, cause="unknown", detail="x"),
    Profile(**_WHO, **_SHAPE, audio="x", defects=("x",), transport="x", auth="x", server="x"),
    FootageExpired(**_WHO, from_us=1, to_us=1, reason="x"),
]


@pytest.mark.hostile
@pytest.mark.parametrize("event", WORDY, ids=lambda event: type(event).__name__)
def test_long_texts_are_truncated_on_encoding_and_decoding(event: StreamEvent) -> None:
    """Some texts come from cameras, and a rejected event would leave a gap without its cause."""
    longer = {name: value * 60_000 for name, value in asdict(event).items() if value in ("x", ("x",))}
    assert len(longer) >= 2
    made = wire.event_message(replace(event, **longer), 1, site="local", service="ingest")
    assert len(made.value) < 3_000
    read = wire.decode_event(made.key, made.headers, made.value)
    assert {len(getattr(read, name)) for name in longer} <= {32, 64, 200, 500}
    older = json.dumps(asdict(event) | longer).encode()
    assert wire.decode_event(made.key, made.headers, older) == read
    assert wire.decode_indexed_event(b'{"type":"%b",' % event.type.encode() + older[1:]) == (read, None)
