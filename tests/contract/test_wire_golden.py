"""Golden bytes of every record of version 1.

What these bytes hold must decode for ever: they lie in topics, buckets and other teams' code. A test that fails here
means a change of the contract: an addition is given its own record beside the old one; anything else is a new version.
"""

from collections.abc import Callable

import pytest

from districam_common.contract import index, names, wire
from districam_common.contract.events import STREAM_EVENTS, DeadLetter
from districam_common.index import indexed
from support.golden import (
    APPENDED_US,
    CAMERA,
    CONNECTED_BEFORE,
    ENTRY,
    EVENTS,
    FIRST,
    INDEXED,
    INDEXED_BEFORE,
    KEY,
    LAST,
    LETTER,
    LOST,
    MADE,
    MEMBER,
    RECORDS,
    START_US,
    STILL,
    STORED,
)


@pytest.mark.parametrize("name", RECORDS)
def test_todays_values_give_these_bytes(name: str) -> None:
    assert MADE[name]() == RECORDS[name]


def test_every_kind_of_record_has_its_bytes() -> None:
    assert RECORDS.keys() == MADE.keys()
    assert {type(event).type for event in EVENTS.values()} == set(STREAM_EVENTS)


@pytest.mark.parametrize(
    ("name", "decode", "value"),
    [
        ("fragment, first", wire.fragment, FIRST),
        ("fragment, last", wire.fragment, LAST),
        ("keyframe", wire.still, STILL),
        ("camera", wire.camera, CAMERA),
        ("stored", wire.stored, STORED),
        *((name, wire.event, event) for name, event in EVENTS.items()),
    ],
)
def test_these_bytes_decode_for_ever(name: str, decode: Callable[..., object], value: object) -> None:
    record = RECORDS[name]
    assert decode(record.key, record.headers, record.value) == value


def test_a_connected_that_does_not_say_whether_it_is_a_repeat_decodes_for_ever() -> None:
    record = RECORDS["connected"]
    assert wire.event(record.key, record.headers, CONNECTED_BEFORE) == EVENTS["connected"]


def test_a_dead_letter_decodes_for_ever() -> None:
    assert wire.parse(DeadLetter, RECORDS["deadletter"].value) == LETTER


def test_the_index_decodes_for_ever() -> None:
    assert index.member(ENTRY) == MEMBER
    assert index.entries(index.segments([MEMBER], [START_US])) == [ENTRY]
    assert wire.indexed_event(LOST, APPENDED_US) == INDEXED
    assert wire.parse_indexed(INDEXED) == wire.parse_indexed(INDEXED_BEFORE) == (LOST, APPENDED_US)
    record = RECORDS["camera"].value
    assert indexed.indexed_camera(CAMERA, APPENDED_US) == record[:-1] + b',"appended_us":%d}' % APPENDED_US
    assert indexed.parse_indexed_camera(indexed.indexed_camera(CAMERA, APPENDED_US)) == (CAMERA, APPENDED_US)
    assert indexed.parse_indexed_camera(record) == (CAMERA, None)


def test_object_keys_are_found_for_ever() -> None:
    assert names.segment_key("gate-1", ENTRY) == KEY
    assert names.entry_of(STORED) == ENTRY
    assert names.parse_segment_key(KEY, ENTRY.bytes) == names.SegmentName("gate-1", ENTRY)
