import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract import names
from districam_common.kafka.marks import Mark
from districam_indexer.core.progress import (
    advanced_watermarks,
    announcement_partitions,
    parse_commit_watermark_us,
    resume_offset,
)

COUNT = 12
ALL = [(topic, n) for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION) for n in range(COUNT)]


@pytest.mark.parametrize(
    ("metadata", "log_us"),
    [
        (json.dumps({"log_us": 17, "seq": {}}), 17),
        ("", None),
        ("[]", None),
        ("{}", None),
        ('{"log_us": "17"}', None),
        ('{"log_us": true}', None),
        ('{"log_us": -1}', None),
        ('{"log_us": 1e300}', None),
    ],
)
def test_log_us_is_read_from_a_commit_or_is_not_known(metadata: str, log_us: int | None):
    assert parse_commit_watermark_us(metadata) == log_us


@given(st.text())
def test_garbage_in_a_commit_is_no_progress(metadata: str):
    assert parse_commit_watermark_us(metadata) is None or json.loads(metadata)["log_us"] >= 0


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True))
def test_a_cameras_announcements_are_in_the_partition_that_is_waited_for(camera_id: str):
    partition = names.partition_of(camera_id, 60)
    own = names.partition_of(camera_id, COUNT)
    assert {(topic, own) for topic, _ in ALL} <= announcement_partitions(partition, COUNT)


def test_nothing_is_logged_before_it_is_applied():
    ends = dict.fromkeys(ALL, 100)
    applied = {**ends, (names.SEGMENTS, 5): 99}
    told = {5: 1000, 17: 1000, 6: 1000}
    assert advanced_watermarks(told, ends, applied, {}, count=COUNT) == {6: 1000}
    assert advanced_watermarks(told, ends, ends, {}, count=COUNT) == told


def test_a_stream_event_that_is_not_applied_yet_holds_back_too():
    ends = dict.fromkeys(ALL, 1)
    applied = {partition: end for partition, end in ends.items() if partition != (names.STREAMS, 6)}
    assert 6 not in advanced_watermarks({6: 1000}, ends, applied, {}, count=COUNT)


def test_what_has_expired_and_is_not_applied_yet_holds_back_too():
    ends = dict.fromkeys(ALL, 1)
    applied = {partition: end for partition, end in ends.items() if partition != (names.RETENTION, 6)}
    assert 6 not in advanced_watermarks({6: 1000, 7: 1000}, ends, applied, {}, count=COUNT)
    assert 7 in advanced_watermarks({6: 1000, 7: 1000}, ends, applied, {}, count=COUNT)


def test_that_a_partition_fell_off_the_log_is_waited_for_wherever_it_is_told():
    ends = dict.fromkeys(ALL, 1)
    told_in = (names.STREAMS, names.partition_of("7", COUNT))
    assert told_in != (names.STREAMS, 7)
    assert advanced_watermarks({7: 1000}, ends, {**ends, told_in: 0}, {}, count=COUNT) == {}


def test_it_never_falls():
    ends = dict.fromkeys(ALL, 0)
    assert advanced_watermarks({1: 10, 2: 30}, ends, {}, {1: 20, 2: 20}, count=COUNT) == {2: 30}


def test_a_partition_whose_end_is_not_known_holds_back():
    ends = dict.fromkeys(ALL, 0)
    del ends[names.SEGMENTS, 3]
    assert advanced_watermarks({3: 10, 4: 10}, ends, {}, {}, count=COUNT) == {4: 10}


@pytest.mark.parametrize(
    ("stated", "at", "is_well"),
    [(None, 10, True), (10, 10, True), (17, 17, True), (20, 20, True), (9, 10, False), (21, 10, False)],
)
def test_reading_goes_on_where_the_index_ends_if_the_log_has_that(stated: int | None, at: int, *, is_well: bool):
    offset, wrong = resume_offset(stated, 10, 20)
    assert offset == at
    assert (wrong == "") == is_well


READ = (Mark(16, 160, "c"), Mark(14, 140, "b"), Mark(11, 110, "a"))


@pytest.mark.correctness
@pytest.mark.parametrize(
    ("stated", "survivor", "at", "is_well"),
    [
        (17, READ[0], 17, True),
        (17, READ[1], 15, False),  # the tail was lost, and the log has grown beyond what was read
        (25, READ[1], 15, False),  # … or has not
        (17, None, 10, False),
        (13, READ[1], 13, False),  # marks of one who did not know yet that he was out
    ],
)
def test_a_log_that_has_not_what_was_read_is_read_again_from_the_last_record_left(
    stated: int, survivor: Mark | None, at: int, *, is_well: bool
):
    offset, wrong = resume_offset(stated, 10, 20, read_marks=READ, survivor=survivor)
    assert offset == at
    assert (wrong == "") == is_well


def test_what_retention_took_proves_nothing():
    assert resume_offset(30, 30, 30, read_marks=READ, survivor=None) == (30, "")
