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
def test_log_us_is_parsed_from_a_commit_or_is_none(metadata: str, log_us: int | None):
    assert parse_commit_watermark_us(metadata) == log_us


@given(st.text())
def test_an_invalid_commit_has_no_watermark(metadata: str):
    assert parse_commit_watermark_us(metadata) is None or json.loads(metadata)["log_us"] >= 0


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True))
def test_a_cameras_announcements_are_in_the_partitions_that_its_watermark_waits_for(camera_id: str):
    partition = names.partition_of(camera_id, 60)
    own = names.partition_of(camera_id, COUNT)
    assert {(topic, own) for topic, _ in ALL} <= announcement_partitions(partition, COUNT)


def test_no_watermark_is_written_before_its_announcements_are_applied():
    ends = dict.fromkeys(ALL, 100)
    applied = {**ends, (names.SEGMENTS, 5): 99}
    committed = {5: 1000, 17: 1000, 6: 1000}
    assert advanced_watermarks(committed, ends, applied, {}, count=COUNT) == {6: 1000}
    assert advanced_watermarks(committed, ends, ends, {}, count=COUNT) == committed


def test_an_unapplied_stream_event_holds_the_watermark_back():
    ends = dict.fromkeys(ALL, 1)
    applied = {partition: end for partition, end in ends.items() if partition != (names.STREAMS, 6)}
    assert 6 not in advanced_watermarks({6: 1000}, ends, applied, {}, count=COUNT)


def test_an_unapplied_expired_event_holds_the_watermark_back():
    ends = dict.fromkeys(ALL, 1)
    applied = {partition: end for partition, end in ends.items() if partition != (names.RETENTION, 6)}
    assert 6 not in advanced_watermarks({6: 1000, 7: 1000}, ends, applied, {}, count=COUNT)
    assert 7 in advanced_watermarks({6: 1000, 7: 1000}, ends, applied, {}, count=COUNT)


def test_the_watermark_waits_for_a_truncation_event_of_its_partition():
    ends = dict.fromkeys(ALL, 1)
    truncations_in = (names.STREAMS, names.partition_of("7", COUNT))
    assert truncations_in != (names.STREAMS, 7)
    assert advanced_watermarks({7: 1000}, ends, {**ends, truncations_in: 0}, {}, count=COUNT) == {}


def test_the_watermark_never_falls():
    ends = dict.fromkeys(ALL, 0)
    assert advanced_watermarks({1: 10, 2: 30}, ends, {}, {1: 20, 2: 20}, count=COUNT) == {2: 30}


def test_a_partition_with_an_unknown_end_holds_the_watermark_back():
    ends = dict.fromkeys(ALL, 0)
    del ends[names.SEGMENTS, 3]
    assert advanced_watermarks({3: 10, 4: 10}, ends, {}, {}, count=COUNT) == {4: 10}


@pytest.mark.parametrize(
    ("applied", "at", "is_intact"),
    [(None, 10, True), (10, 10, True), (17, 17, True), (20, 20, True), (9, 10, False), (21, 10, False)],
)
def test_reading_resumes_at_the_applied_offset_if_the_log_has_it(applied: int | None, at: int, *, is_intact: bool):
    offset, problem = resume_offset(applied, 10, 20)
    assert offset == at
    assert (problem == "") == is_intact


READ = (Mark(16, 160, "c"), Mark(14, 140, "b"), Mark(11, 110, "a"))


@pytest.mark.correctness
@pytest.mark.parametrize(
    ("applied", "survivor", "at", "is_intact"),
    [
        (17, READ[0], 17, True),
        (17, READ[1], 15, False),  # the tail was lost, and the log has grown again
        (25, READ[1], 15, False),  # the tail was lost, and the log has not grown as far
        (17, None, 10, False),
        (13, READ[1], 13, False),  # marks by a member that had left the group without knowing it
    ],
)
def test_a_log_that_lost_read_records_is_read_again_after_the_last_survivor(
    applied: int, survivor: Mark | None, at: int, *, is_intact: bool
):
    offset, problem = resume_offset(applied, 10, 20, read_marks=READ, survivor=survivor)
    assert offset == at
    assert (problem == "") == is_intact


def test_marks_before_the_logs_beginning_verify_nothing():
    assert resume_offset(30, 30, 30, read_marks=READ, survivor=None) == (30, "")
