"""What is shown of one epoch, and inside a hole that is shorter than a gap."""

import pytest

from districam_api.core import responses
from districam_api.core.playlist import SegmentWithUrl
from districam_api.core.times import Window
from districam_api.footage import WindowRecords
from districam_common.contract.events import Camera, CameraEvent
from districam_common.contract.segment_array import IndexEntry, array_from_entries
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.ledger import LedgerInputs, Revision
from support.histories import EPOCHS, connected, entry, lost

S = 1_000_000
A, B = EPOCHS[:2]
RECORD = Revision(Camera(camera_id="cam-1", name="", url=""), 1)


def make_records(
    window: tuple[float, float], rows: list[IndexEntry], camera_events: list[CameraEvent]
) -> WindowRecords:
    events = [LoggedEvent(event) for event in camera_events]
    known = LedgerInputs(revisions=[RECORD], segments=array_from_entries(rows), events=events, log_us=10**12)
    asked = Window(round(window[0] * S), round(window[1] * S))
    return WindowRecords(window=asked, inputs=known, now_us=10**12, settle_us=75 * S)


@pytest.mark.correctness
def test_totals_of_one_epoch_cover_that_epoch_only():
    rows = [
        *(entry(A, n, n, n * 10 * S, (n + 1) * 10 * S) for n in range(6)),
        entry(B, 0, 0, 20 * S, 30 * S),
        entry(B, 2, 2, 33 * S, 40 * S),
    ]
    asked = make_records((25, 60), rows, []).for_epoch(B)
    states = asked.states()
    listed = [SegmentWithUrl(one, "", "") for one in asked.cover_entries(states)]
    headers = responses.playlist_headers(listed, asked.clip_states(states))
    assert [(one.entry.start_us // S, one.entry.end_us // S) for one in listed] == [(20, 30), (33, 40)]
    assert headers["Districam-Recorded-Seconds"] == "12.000000"
    assert headers["Districam-Gap-Seconds"] == "3.000000", "between its first and its last picture"


def test_totals_without_an_epoch_cover_the_whole_window():
    asked = make_records((0, 60), [entry(A, 0, 0, 0, 10 * S)], []).for_epoch(None)
    states = asked.states()
    assert responses.coverage_headers(0, 1, asked.clip_states(states))["Districam-Gap-Seconds"] == "50.000000"


HOLE = [entry(A, 0, 0, 0, 10 * S), entry(B, 0, 0, round(10.4 * S), 20 * S)]
CHANGE: list[CameraEvent] = [connected(A, 0), lost(A, 0, 10 * S, "stream_changed"), connected(B, round(10.4 * S))]


@pytest.mark.correctness
@pytest.mark.parametrize("window", [(10.2, 10.200001), (10, 10.4), (10.399999, 10.4)])
def test_inside_a_short_hole_the_last_picture_before_it_is_shown(window: tuple[float, float]):
    asked = make_records(window, HOLE, CHANGE)
    states = asked.states()
    assert [state.state for state in states] == ["recorded"]
    filled = asked.extend_over_short_hole(states)
    shown = filled.cover(filled.states())
    assert [(one.entry.epoch, one.to_us) for one in shown] == [(A, 10 * S)]


@pytest.mark.parametrize("window", [(5, 6), (9.9, 10.1), (10.3, 10.5)])
def test_a_window_outside_short_holes_is_not_extended(window: tuple[float, float]):
    asked = make_records(window, HOLE, CHANGE)
    assert asked.extend_over_short_hole(asked.states()) is asked


def test_inside_a_gap_nothing_is_shown():
    asked = make_records((20.1, 20.2), HOLE, CHANGE)
    states = asked.states()
    assert [state.state for state in states] == ["gap"]
    assert asked.extend_over_short_hole(states).cover(states) == []
