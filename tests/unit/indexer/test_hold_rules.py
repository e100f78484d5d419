"""Which versions a hold targets, its state, and what is archived for it."""

from dataclasses import replace

import pytest

from districam_common.contract.events import PartitionTruncated
from districam_common.contract.names import HOUR_US
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.holds import Hold, encode_events
from districam_common.ledger.intervals import merge
from districam_common.s3.s3_listing import ObjectVersion
from districam_indexer.core.hold_rules import (
    MAX_UNMERGED,
    AnnouncedIntervals,
    HoldTargets,
    events_to_archive,
    hold_hours,
    hold_state,
    hold_targets,
    is_settled,
    round_robin,
    stale_cache_ids,
)
from support.announcements import NOON_US, S, lost, segment


def hold(from_us: int = NOON_US, to_us: int = NOON_US + 60 * S) -> Hold:
    return Hold(id="0" * 16, camera_id="cam-1", from_us=from_us, to_us=to_us, reason="r", placed_by="k", placed_us=1)


def found(start_us: int, *, camera_id: str = "cam-1", is_marker: bool = False) -> ObjectVersion:
    key = segment(camera_id, start_us=start_us).key
    return ObjectVersion(key, "v", 0 if is_marker else 9, is_marker, is_latest=True)


def test_segments_may_be_filed_an_hour_before_the_window() -> None:
    assert hold_hours(hold()) == [NOON_US - HOUR_US, NOON_US]
    assert hold_hours(hold(to_us=NOON_US + HOUR_US)) == [NOON_US - HOUR_US, NOON_US]
    assert hold_hours(hold(from_us=0, to_us=1)) == [0]


def test_a_hold_targets_versions_and_delete_markers_in_its_window() -> None:
    edge, before = found(NOON_US - 5 * S), found(NOON_US - 10 * S)
    marker = found(NOON_US, is_marker=True)
    foreign = ObjectVersion("cam-1/notes.txt", "v", 1, is_delete_marker=False, is_latest=True)
    others = [before, found(NOON_US, camera_id="cam-2"), found(NOON_US + 60 * S), foreign]
    assert hold_targets(hold(), [edge, marker, *others]) == HoldTargets((edge,), (marker,))


@pytest.mark.parametrize(
    ("held", "is_whole", "is_protected", "state"),
    [
        (1, True, True, "partial"),
        (2, True, True, "enforced"),
        (2, False, True, "partial"),
        (0, True, False, "advisory"),
    ],
)
def test_the_state_of_a_hold_has_its_counts(held: int, is_whole: bool, is_protected: bool, state: str) -> None:  # noqa: FBT001
    state_of_hold = hold_state(2, held, is_complete=is_whole, is_protected=is_protected, now_us=5)
    assert (state_of_hold.state, state_of_hold.versions, state_of_hold.held, state_of_hold.checked_us) == (
        state,
        2,
        held,
        5,
    )


def test_holds_not_served_in_one_round_are_first_in_the_next() -> None:
    holds = [replace(hold(), id=letter * 16) for letter in "cab"]
    assert [one.id[0] for one in round_robin(holds, "")] == ["a", "b", "c"]
    assert [one.id[0] for one in round_robin(holds, "b" * 16)] == ["c", "a", "b"]
    assert [one.id[0] for one in round_robin(holds, "z" * 16)] == ["a", "b", "c"]


def test_a_window_is_settled_once_the_watermark_has_passed_its_events() -> None:
    """Events up to an hour after its end are archived too; settling is by log time, not by a host's clock."""
    assert not is_settled(hold(), NOON_US + 60 * S + HOUR_US + 75 * S - 1, 75 * S)
    assert is_settled(hold(), NOON_US + 60 * S + HOUR_US + 75 * S, 75 * S)


def test_the_archive_has_the_events_that_the_hold_has_not_and_only_grows() -> None:
    early, later, last = (LoggedEvent(lost(NOON_US + n * S), 7) for n in (1, 2, 3))
    fell = PartitionTruncated(partition=0, at_us=1, instance="i", from_us=NOON_US, to_us=NOON_US + 5)
    placed = replace(hold(), events=encode_events([early]))
    assert events_to_archive(placed, None, [early], [], 9) is None
    kept = events_to_archive(placed, None, [early, later], [fell], 9)
    assert kept is not None
    assert (kept.events, len(kept.fell), kept.log_us) == (encode_events([later]), 1, 9)
    assert events_to_archive(placed, kept, [early, later], [fell], 10) is None
    assert events_to_archive(placed, kept, [], [], 10) is None  # an index rebuilt from a topic without them
    more = events_to_archive(placed, kept, [last], [], 11)
    assert more is not None
    assert (more.events, more.fell, more.log_us) == (encode_events([later, last]), kept.fell, 11)


def test_holds_that_no_longer_exist_are_removed_from_the_cache() -> None:
    assert stale_cache_ids(["0" * 16, "b", "a"], [hold()]) == ["a", "b"]


def test_announced_intervals_are_drained_once_by_camera_and_merged() -> None:
    arrivals = AnnouncedIntervals()
    starts_us = [NOON_US + n * 10 * S for n in range(2 * MAX_UNMERGED + 3)]
    for start_us in starts_us:
        arrivals.feed(segment("cam-1", start_us=start_us, duration_us=10 * S))
    arrivals.feed(segment("cam-1", start_us=NOON_US - HOUR_US, duration_us=S))
    arrivals.feed(segment("cam-2", start_us=NOON_US, duration_us=S))
    taken = arrivals.drain()
    assert len(taken["cam-1"]) < MAX_UNMERGED
    assert {camera_id: merge(found) for camera_id, found in taken.items()} == {
        "cam-1": [(NOON_US - HOUR_US, NOON_US - HOUR_US + S), (NOON_US, starts_us[-1] + 10 * S)],
        "cam-2": [(NOON_US, NOON_US + S)],
    }
    assert arrivals.drain() == {}
