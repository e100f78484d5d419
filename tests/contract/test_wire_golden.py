"""Golden bytes of every record of version 1.

These bytes must always decode: they exist in topics, buckets and other teams' code. A test that fails here means a
change of the contract: for an addition, add a new record here and keep the old one; anything else needs a new version.
"""

from collections.abc import Callable

import pytest

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import STREAM_EVENTS, DeadLetter
from districam_common.index import indexed_camera
from support.golden import (
    APPENDED_US,
    CAMERA,
    CONNECTED_BEFORE,
    DEAD_LETTER,
    ENTRY,
    EVENTS,
    FIRST,
    INDEXED,
    INDEXED_BEFORE,
    KEY,
    LAST,
    LOST,
    MEMBER,
    MESSAGE_BUILDERS,
    RECORDS,
    START_US,
    STILL,
    STORED,
)


@pytest.mark.parametrize("name", RECORDS)
def test_current_values_encode_to_the_golden_bytes(name: str) -> None:
    assert MESSAGE_BUILDERS[name]() == RECORDS[name]


def test_every_record_type_has_golden_bytes() -> None:
    assert RECORDS.keys() == MESSAGE_BUILDERS.keys()
    assert {type(event).type for event in EVENTS.values()} == set(STREAM_EVENTS)


@pytest.mark.parametrize(
    ("name", "decode", "value"),
    [
        ("fragment, first", wire.decode_fragment, FIRST),
        ("fragment, last", wire.decode_fragment, LAST),
        ("keyframe", wire.decode_still, STILL),
        ("camera", wire.decode_camera, CAMERA),
        ("stored", wire.decode_stored, STORED),
        *((name, wire.decode_event, event) for name, event in EVENTS.items()),
    ],
)
def test_golden_bytes_decode(name: str, decode: Callable[..., object], value: object) -> None:
    record = RECORDS[name]
    assert decode(record.key, record.headers, record.value) == value


def test_a_connected_without_repeated_decodes() -> None:
    record = RECORDS["connected"]
    assert wire.decode_event(record.key, record.headers, CONNECTED_BEFORE) == EVENTS["connected"]


def test_a_golden_dead_letter_decodes() -> None:
    assert wire.decode_json(DeadLetter, RECORDS["deadletter"].value) == DEAD_LETTER


def test_golden_index_members_decode() -> None:
    assert segment_array.encode_member(ENTRY) == MEMBER
    assert segment_array.entries_from_array(segment_array.decode_members([MEMBER], [START_US])) == [ENTRY]
    assert wire.encode_indexed_event(LOST, APPENDED_US) == INDEXED
    assert wire.decode_indexed_event(INDEXED) == wire.decode_indexed_event(INDEXED_BEFORE) == (LOST, APPENDED_US)
    record = RECORDS["camera"].value
    assert (
        indexed_camera.encode_indexed_camera(CAMERA, APPENDED_US) == record[:-1] + b',"appended_us":%d}' % APPENDED_US
    )
    assert indexed_camera.decode_indexed_camera(indexed_camera.encode_indexed_camera(CAMERA, APPENDED_US)) == (
        CAMERA,
        APPENDED_US,
    )
    assert indexed_camera.decode_indexed_camera(record) == (CAMERA, None)


def test_golden_object_keys_parse() -> None:
    assert names.segment_object_key("gate-1", ENTRY) == KEY
    assert names.entry_of(STORED) == ENTRY
    assert names.parse_segment_object_key(KEY, ENTRY.bytes) == names.SegmentKeyFields("gate-1", ENTRY)
