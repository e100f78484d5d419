import dataclasses
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, FootageExpired, PartitionTruncated, SegmentStored, StreamEvent
from districam_common.contract.media import Still
from districam_common.contract.names import HOUR_US
from districam_common.errors import Rejected
from districam_common.index import indexed_camera
from districam_indexer.core.operations import AddMember, AddScored, Operation, RaiseScore, SetBits, SetField, to_batch
from districam_indexer.core.plan import is_covered, plan_camera, plan_entry, plan_event, plan_still, plan_stored
from support.announcements import EPOCHS, NOON_US, S, connected, lost, segment


def test_a_segment_is_indexed_by_hour_day_and_epoch_and_as_the_latest():
    stored = segment()
    assert plan_stored(stored) == [
        AddMember("dc1:camera-ids", "cam-1"),
        AddScored("dc1:seg:cam-1:2026112412", segment_array.encode_member(names.entry_of(stored)), NOON_US),
        RaiseScore("dc1:latest", "cam-1", NOON_US + 10 * S),
        SetBits("dc1:day:cam-1:20261124", range(4320, 4321)),
        SetField("dc1:epoch:cam-1:20261124", EPOCHS[0], b'{"codecs":"avc1.640020","width":1920,"height":1080}'),
    ]


def test_a_segment_over_midnight_is_in_the_hour_of_its_start_and_in_both_days_bitmaps():
    midnight_us = NOON_US + 12 * 3600 * S
    batch = to_batch(plan_stored(segment(start_us=midnight_us - 4 * S)))
    assert list(batch.scored) == ["dc1:seg:cam-1:2026112423"]
    assert list(batch.fields) == ["dc1:epoch:cam-1:20261124"]
    assert batch.bits == {"dc1:day:cam-1:20261124": {8639}, "dc1:day:cam-1:20261125": {0}}


@pytest.mark.parametrize(
    ("expired", "is_kept"),
    [
        ([], True),
        ([(NOON_US, NOON_US + 10 * S)], False),
        ([(0, NOON_US + 3600 * S)], False),
        ([(0, NOON_US + 10 * S - 1)], True),
        ([(NOON_US + 1, NOON_US + 20 * S)], True),
    ],
)
def test_a_replayed_segment_is_ignored_only_if_it_is_wholly_expired(expired: list[tuple[int, int]], *, is_kept: bool):
    assert bool(plan_stored(segment(), expired)) == is_kept


def test_an_interval_is_covered_only_by_a_single_range():
    assert is_covered((2, 3), [(0, 1), (2, 4)])
    assert not is_covered((0, 4), [(0, 1), (2, 4)])


def under_its_key(stored: SegmentStored) -> SegmentStored:
    return replace(stored, key=names.segment_object_key(stored.camera_id, names.entry_of(stored)))


@pytest.mark.parametrize(
    "broken",
    [
        replace(segment(), key="cam-1/other.mp4"),
        replace(segment(), camera_id="cam:1"),
        replace(segment(), epoch="not-a-uuid"),
        replace(segment(), init_bytes=1 << 16),
        replace(segment(), first_seq=-1),
        under_its_key(replace(segment(), first_seq=9, last_seq=3)),
        replace(segment(), end_us=NOON_US - 1),
        replace(segment(), end_us=NOON_US + (1 << 32)),
        replace(segment(), start_us=-1),
        replace(segment(), end_us=1 << 60),
    ],
    ids=["key", "camera", "epoch", "init", "seq", "seqs reversed", "reversed", "too long", "before 1970", "too late"],
)
def test_segments_that_the_index_cannot_represent_are_rejected(broken: SegmentStored):
    with pytest.raises(Rejected):
        plan_stored(broken)


def test_an_event_is_indexed_at_its_instant_with_its_append_time():
    _, scored = plan_event(lost(), NOON_US + 77)
    assert isinstance(scored, AddScored)
    assert (scored.key, scored.score) == ("dc1:events:cam-1", NOON_US)
    assert wire.decode_indexed_event(scored.member) == (lost(), NOON_US + 77)


def test_hourly_repetitions_of_connected_are_one_member_besides_the_first():
    first = plan_event(connected(), NOON_US + 2 * S)
    repetitions = [plan_event(replace(connected(), repeated=True), NOON_US + n * HOUR_US) for n in range(1, 9)]
    found = to_batch(chain(first, *repetitions)).scored["dc1:events:cam-1"]
    assert sorted(wire.decode_indexed_event(member)[1] or 0 for member in found) == [0, NOON_US + 2 * S]


def test_a_partitions_truncation_is_indexed_under_its_number():
    truncation = PartitionTruncated(partition=17, at_us=NOON_US, instance="host-1", from_us=NOON_US - S, to_us=NOON_US)
    (scored,) = plan_event(truncation, NOON_US)
    assert isinstance(scored, AddScored)
    assert (scored.key, scored.score) == ("dc1:fell:17", NOON_US - S)


@pytest.mark.parametrize(
    "broken",
    [
        lost(at_us=1 << 70),
        lost(camera_id="../x"),
        PartitionTruncated(partition=1, at_us=0, instance="i", from_us=5, to_us=1),
    ],
)
def test_an_event_that_the_index_cannot_represent_is_rejected(broken: StreamEvent):
    with pytest.raises(Rejected):
        plan_event(broken, 0)


def test_every_revision_of_a_camera_is_kept():
    first = Camera(camera_id="cam-1", name="Cổng chính", url="rtsp://10.0.0.1/1", revision=1, updated_us=10)
    second = replace(first, revision=2, updated_us=20, deleted=True)
    batch = to_batch([*plan_camera(first, 17), *plan_camera(second, 18)])
    found = batch.scored["dc1:cameras:cam-1"]
    assert {indexed_camera.decode_indexed_camera(member): score for member, score in found.items()} == {
        (first, 17): 10,
        (second, 18): 20,
    }


@pytest.mark.hostile
def test_a_revision_from_the_future_does_not_stay_the_newest():
    """Otherwise it would override the operator's revisions until the year 2255."""
    forged = Camera(camera_id="cam-1", name="x", url="rtsp://10.0.0.9/1", revision=2, updated_us=(1 << 53) - 1)
    true = replace(forged, url="rtsp://10.0.0.1/1", revision=3, updated_us=NOON_US + 5)
    batch = to_batch([*plan_camera(forged, NOON_US), *plan_camera(true, NOON_US + 6)])
    found = batch.scored["dc1:cameras:cam-1"]
    newest = max(found, key=found.__getitem__)
    assert indexed_camera.decode_indexed_camera(newest) == (true, NOON_US + 6)


@pytest.mark.hostile
def test_a_still_from_the_future_is_rejected():
    still = Still(camera_id="cam-1", epoch=EPOCHS[0], seq=3, at_us=NOON_US, width=640, height=360, jpeg=b"\xff\xd8")
    assert plan_still(still, NOON_US - 59 * S)
    with pytest.raises(Rejected, match="later than its record"):
        plan_still(still, NOON_US - 61 * S)


@pytest.mark.hostile
def test_a_truncation_that_ends_in_the_future_is_rejected():
    truncation = PartitionTruncated(partition=17, at_us=NOON_US, instance="host-1", from_us=0, to_us=NOON_US)
    assert plan_event(truncation, NOON_US - HOUR_US)
    with pytest.raises(Rejected, match="later than the record"):
        plan_event(truncation, NOON_US - HOUR_US - 1)
    assert plan_event(truncation, None)


def test_only_the_newest_still_is_kept():
    still = Still(camera_id="cam-1", epoch=EPOCHS[0], seq=3, at_us=NOON_US, width=640, height=360, jpeg=b"\xff\xd8")
    batch = to_batch([*plan_still(still), *plan_still(replace(still, at_us=NOON_US - S))])
    assert batch.stills["dc1:still:cam-1"].at_us == NOON_US


@pytest.mark.parametrize("field", ["camera_id", "at_us"])
def test_a_still_that_the_index_cannot_represent_is_rejected(field: str):
    still = Still(camera_id="cam-1", epoch=EPOCHS[0], seq=3, at_us=NOON_US, width=640, height=360, jpeg=b"\xff\xd8")
    with pytest.raises(Rejected):
        plan_still(replace(still, **{field: "X" if field == "camera_id" else -1}))


# ---- any order, any repetition

segments = st.builds(
    segment,
    camera_id=st.sampled_from(["cam-1", "cam-2"]),
    epoch=st.integers(0, 2),
    first_seq=st.integers(0, 40),
    start_us=st.integers(NOON_US - 26 * 3600 * S, NOON_US + 26 * 3600 * S),
    duration_us=st.integers(1, 70 * S),
)
events = st.one_of(
    st.builds(lost, at_us=st.integers(NOON_US, NOON_US + 60 * S), camera_id=st.sampled_from(["cam-1", "cam-2"])),
    st.builds(
        FootageExpired,
        camera_id=st.just("cam-1"),
        at_us=st.integers(NOON_US, NOON_US + S),
        instance=st.just("host-1"),
        from_us=st.just(0),
        to_us=st.integers(1, NOON_US),
        reason=st.just("retention"),
    ),
)


@given(st.lists(st.one_of(segments, events), max_size=30), st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_index(records: list[SegmentStored | StreamEvent], random: Random):
    again = [*records, *random.choices(records, k=len(records) // 2)] if records else []
    random.shuffle(again)
    assert dataclasses.asdict(to_batch(_planned(again))) == dataclasses.asdict(to_batch(_planned(records)))


def _planned(records: list[SegmentStored | StreamEvent]) -> Iterator[Operation]:
    for record in records:
        yield from plan_stored(record) if isinstance(record, SegmentStored) else plan_event(record, NOON_US)


@given(segments)
def test_announcement_and_object_key_give_the_same_operations(stored: SegmentStored):
    name = names.parse_segment_object_key(stored.key, stored.bytes)
    *operations, parameters = plan_stored(stored)
    assert plan_entry(name.camera_id, name.entry) == operations
    assert isinstance(parameters, SetField)
    assert json.loads(parameters.value)["codecs"] == stored.codecs


@pytest.mark.correctness
@pytest.mark.parametrize(("ahead_s", "raises"), [(-15, True), (59, True), (61, False), (7 * 3600, False)])
def test_a_segment_that_ends_after_its_announcement_is_not_the_cameras_latest(ahead_s: int, *, raises: bool):
    """Its clock was ahead; as the latest, it would hide everything recorded until then."""
    stored = segment(start_us=NOON_US)
    planned = plan_stored(stored, append_us=stored.end_us - ahead_s * S)
    assert any(isinstance(operation, RaiseScore) for operation in planned) == raises
    assert len(planned) == len(plan_stored(stored)) - (not raises)
