import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from aiokafka.partitioner import murmur2  # pyright: ignore[reportUnknownVariableType]  # aiokafka is untyped
from hypothesis import example, given
from hypothesis import strategies as st

from districam_common.contract import names, segment_array
from districam_common.contract.events import SegmentStored
from districam_common.contract.media import CAMERA_ID
from districam_common.contract.segment_array import IndexEntry
from districam_common.index import index_codec
from support.values import CAMERA_IDS, INSTANTS, STORED_SEGMENTS, index_entries

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000


@given(INSTANTS)
def test_instants_round_trip_as_text(at_us: int) -> None:
    text = names.format_rfc3339(at_us)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert names.parse_rfc3339(text) == at_us
    assert names.datetime_to_us(names.utc(at_us)) == at_us


@given(INSTANTS, st.integers(-14 * 60, 14 * 60))
def test_an_instant_is_the_same_in_every_zone(at_us: int, minutes: int) -> None:
    there = names.utc(at_us).astimezone(timezone(timedelta(minutes=minutes)))
    assert names.parse_rfc3339(there.isoformat()) == at_us


@given(st.text(max_size=40) | st.datetimes().map(datetime.isoformat))
@example("2026-11-24T14:47:00")
def test_text_that_is_not_an_instant_raises_value_error(text: str) -> None:
    try:
        at_us = names.parse_rfc3339(text)
    except ValueError:
        return
    assert datetime.fromisoformat(text) == names.utc(at_us)


def test_a_local_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        names.parse_rfc3339("2026-11-24T14:47:00")
    with pytest.raises(ValueError, match="no time zone"):
        names.datetime_to_us(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None))


@given(CAMERA_IDS, index_entries())
def test_segment_keys_round_trip(camera_id: str, entry: IndexEntry) -> None:
    parsed = names.parse_segment_object_key(names.segment_object_key(camera_id, entry), entry.bytes)
    assert parsed == names.SegmentKeyFields(camera_id, entry)


@given(CAMERA_IDS, index_entries(), index_entries())
def test_a_cameras_keys_sort_by_time(camera_id: str, a: IndexEntry, b: IndexEntry) -> None:
    if a.start_us != b.start_us:
        in_order = names.segment_object_key(camera_id, a) < names.segment_object_key(camera_id, b)
        assert in_order == (a.start_us < b.start_us)


KEY = "cam-1/2026-11-24/14/47-00.000000Z.01900000-0000-7000-8000-000000000000.0-4.10000000.900.01.mp4"


@given(
    st.text(max_size=120)
    | st.tuples(st.integers(0, len(KEY) - 1), st.text(max_size=2)).map(
        lambda change: KEY[: change[0]] + change[1] + KEY[change[0] + 1 :]
    )
)
@example(KEY.replace("2026-11-24", "2026-02-30"))
@example(KEY.replace(".0-4.", ".0-٤."))
@example(KEY.replace(".0-4.", ".0-04."))
@example(KEY.replace(".0-4.", ".5-4."))
@example(KEY.replace(".0-4.", ".0-4294967296."))
@example(KEY.replace(".10000000.", ".9999999999."))
@example(KEY.replace(".900.", ".99999."))
@example(names.SITE_MARKER)
def test_a_key_that_parses_is_the_key_of_an_entry_that_fits_the_index(key: str) -> None:
    try:
        name = names.parse_segment_object_key(key, 1000)
    except ValueError:
        return
    assert names.segment_object_key(name.camera_id, name.entry) == key
    assert len(segment_array.encode_member(name.entry)) == segment_array.MEMBER_DTYPE.itemsize
    assert CAMERA_ID.fullmatch(name.camera_id)


@given(STORED_SEGMENTS)
def test_the_index_entry_of_an_announcement(stored: SegmentStored) -> None:
    whole = names.entry_of(replace(stored, lost_packets=0, damaged=0))
    assert (whole.epoch, whole.first_seq, whole.last_seq) == (stored.epoch, stored.first_seq, stored.last_seq)
    assert (whole.start_us, whole.end_us) == (stored.start_us, stored.end_us)
    assert (whole.bytes, whole.init_bytes) == (stored.bytes, stored.init_bytes)
    assert whole.starts_with_keyframe == stored.starts_with_keyframe
    assert not whole.is_lossy
    assert names.entry_of(replace(stored, lost_packets=1, damaged=0)).is_lossy
    assert names.entry_of(replace(stored, lost_packets=0, damaged=1)).is_lossy


def test_redis_keys() -> None:
    at_us = names.parse_rfc3339("2026-11-24T14:47:00Z")
    assert names.segments_key("cam-1", at_us) == "dc1:seg:cam-1:2026112414"
    assert names.epochs_key("cam-1", at_us) == "dc1:epoch:cam-1:20261124"
    assert names.day_key("cam-1", at_us) == "dc1:day:cam-1:20261124"
    assert names.events_key("cam-1") == "dc1:events:cam-1"
    assert names.truncations_key(7) == "dc1:fell:7"
    assert names.still_key("cam-1") == "dc1:still:cam-1"
    assert names.camera_key("cam-1") == "dc1:cameras:cam-1"


@given(INSTANTS, st.integers(1, 3 * DAY_US), st.data())
def test_hours_include_every_segment_that_touches_the_window(from_us: int, length_us: int, data: st.DataObject) -> None:
    hours = names.hours(from_us, from_us + length_us)
    assert all(b - a == HOUR_US for a, b in pairwise(hours))
    start_us = data.draw(st.integers(from_us - HOUR_US, from_us + length_us - 1))
    assert start_us // HOUR_US * HOUR_US in hours


@given(INSTANTS, st.integers(0, 2 * DAY_US))
def test_slots_are_the_ten_second_intervals_touched(start_us: int, length_us: int) -> None:
    found = [day + bit * names.SLOT_US for day, bits in names.slots(start_us, start_us + length_us) for bit in bits]
    first = start_us // names.SLOT_US * names.SLOT_US
    assert found == list(range(first, max(start_us + length_us, start_us + 1), names.SLOT_US))
    for day, bits in names.slots(start_us, start_us + length_us):
        assert day % DAY_US == 0
        assert 0 <= bits.start < bits.stop <= DAY_US // names.SLOT_US


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 1000))
def test_partition_of_agrees_with_the_default_partitioner(key: str, partitions: int) -> None:
    expected = (murmur2(key.encode()) & 0x7FFF_FFFF) % partitions
    assert names.partition_of(key, partitions) == expected


def test_day_and_hour_prefixes_match_keys_and_round_trip() -> None:
    at_us = names.parse_rfc3339("2026-11-24T14:47:31.5Z")
    assert names.day_prefix("cam-1", at_us) == "cam-1/2026-11-24/"
    assert names.hour_prefix("cam-1", at_us) == "cam-1/2026-11-24/14/"
    assert names.parse_hour_prefix("cam-1/2026-11-24/14/") == at_us // names.HOUR_US * names.HOUR_US
    assert names.parse_hour_prefix("cam-1/2026-11-24/") == at_us // names.DAY_US * names.DAY_US
    with pytest.raises(ValueError, match="Invalid isoformat"):
        names.parse_hour_prefix("cam-1/notes/")


@pytest.mark.hostile
@pytest.mark.parametrize(
    "hour", ["", "2026", "202611241", "20261124" + "9" * 30, "2026-11-24", "2026112425", "20261124٠١", "2026 1 1 1"]
)
def test_an_invalid_hour_raises_value_error(hour: str) -> None:
    """A malformed hour in Redis is skipped alone; a long number once raised another error."""
    try:
        found = index_codec.parse_usage_by_hour({hour.encode(): b"5", b"2026112414": b"7"}, "cam-1")
    except OverflowError:
        found = None
    assert found == {names.parse_hour("2026112414"): 7}


def test_a_released_hold_has_another_key() -> None:
    assert names.hold_key("ab") == "_districam/holds/ab.json"
    assert names.released_key("ab") == "_districam/released/ab.json"


def test_expired_intervals_round_trip() -> None:
    assert names.expired_key("cam-1") == "dc1:expired:cam-1"
    assert names.parse_interval(names.format_interval(5, 70).encode()) == (5, 70)


@pytest.mark.correctness
def test_each_schema_has_its_own_keys_and_group() -> None:
    """Schema 1 keeps its names from before the rule, so that existing indexes stay valid."""
    assert (names.PREFIX, names.INDEXER_GROUP) == ("dc1:", "districam-indexer")
    assert (names.prefix_of("2"), names.indexer_group_of("2")) == ("dc2:", "districam-indexer-2")
    keys = [
        names.CAMERA_IDS, names.LATEST, names.APPLIED, names.WATERMARKS, names.HOLDS, names.HOLD_STATES, names.META,
        names.segments_key("cam-1", 0), names.epochs_key("cam-1", 0), names.day_key("cam-1", 0),
        names.events_key("cam-1"), names.expired_key("cam-1"), names.truncations_key(1), names.still_key("cam-1"),
        names.camera_key("cam-1"),
    ]  # fmt: skip
    assert all(key.startswith(names.PREFIX) for key in keys)
    assert len(set(keys)) == len(keys)
