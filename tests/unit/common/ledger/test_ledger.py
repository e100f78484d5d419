"""The ledger by example: one test per rule of docs/design/contract.md, The ledger."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from districam_common.contract import segment_array
from districam_common.contract.events import CameraEvent, Cause, Lost, PartitionTruncated
from districam_common.contract.segment_array import IndexEntry
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.expectation import Revision
from districam_common.ledger.ledger import LedgerInputs, State, Summary, gap_us_by_cause, ledger, summary
from support.histories import EPOCHS, camera, connected, entry, expired, lost, refused, shed, truncation

S = 1_000_000
E0, E1, E2 = EPOCHS[:3]
LONG_AGO = camera(-1000 * S)
SETTLED_US = 10**15

Short = tuple[str, int, int] | tuple[str, int, int, str] | tuple[str, int, int, str, str]


def states_s(
    entries: Sequence[IndexEntry] = (),
    events: Sequence[CameraEvent | LoggedEvent] = (),
    *,
    window: tuple[int, int] = (0, 100),
    revisions: Sequence[Revision] = (LONG_AGO,),
    truncations: Sequence[PartitionTruncated] = (),
    log_us: int = SETTLED_US,
    now_us: int = SETTLED_US,
) -> list[Short]:
    """The ledger's states in seconds, as tuples without absent values."""
    known = LedgerInputs(
        revisions=revisions,
        segments=segment_array.array_from_entries(entries),
        events=[event if isinstance(event, LoggedEvent) else LoggedEvent(event) for event in events],
        truncations=truncations,
        log_us=log_us,
    )
    states = ledger((window[0] * S, window[1] * S), known, now_us=now_us)
    return [_short(state) for state in states]


def _short(state: State) -> Short:
    from_s, to_s = state.from_us / S, state.to_us / S
    times = (int(from_s) if from_s.is_integer() else from_s, int(to_s) if to_s.is_integer() else to_s)
    tail = [state.cause, state.detail] if state.detail else [state.cause] if state.cause else []
    return (state.state, *times, *tail)  # pyright: ignore[reportReturnType]  # a tuple as long as it has to be


def stored(epoch: str, first_seq: int, last_seq: int, from_s: float, to_s: float) -> IndexEntry:
    return entry(epoch, first_seq, last_seq, round(from_s * S), round(to_s * S))


def test_an_expected_camera_without_evidence_is_service_down() -> None:
    assert states_s() == [("gap", 0, 100, "service_down")]


def test_an_empty_window_has_no_states() -> None:
    assert states_s(window=(5, 5)) == []


def test_touching_segments_are_one_recorded_state() -> None:
    assert states_s([stored(E0, 5, 9, 10, 60), stored(E0, 0, 4, 0, 10)], window=(0, 60)) == [("recorded", 0, 60)]


def test_expired_outranks_recorded() -> None:
    assert states_s([stored(E0, 0, 9, 0, 100)], [expired(0, 40 * S)]) == [("expired", 0, 40), ("recorded", 40, 100)]


def test_recorded_outranks_not_expected() -> None:
    off = camera(20 * S, revision=2, enabled=False)
    assert states_s([stored(E0, 0, 9, 0, 40)], revisions=[LONG_AGO, off]) == [
        ("recorded", 0, 40),
        ("not_expected", 40, 100),
    ]


def test_a_camera_without_a_record_is_not_expected() -> None:
    assert states_s(revisions=[]) == [("not_expected", 0, 100)]


def test_a_new_camera_is_expected_after_thirty_seconds() -> None:
    assert states_s(revisions=[camera(10 * S)]) == [("not_expected", 0, 40), ("gap", 40, 100, "service_down")]


def test_a_new_camera_is_expected_from_its_first_event_or_segment() -> None:
    assert states_s([], [refused(15 * S, "auth_failed", next_retry_s=300.0)], revisions=[camera(10 * S)]) == [
        ("not_expected", 0, 15),
        ("gap", 15, 100, "auth_failed"),
    ]


def test_a_camera_with_events_before_its_record_is_expected_from_its_record_on() -> None:
    events = [refused(5 * S, "not_found", next_retry_s=300.0)]
    assert states_s([], events, revisions=[camera(10 * S)])[:1] == [("not_expected", 0, 10)]


def test_a_reenabled_camera_is_expected_from_its_next_event_on() -> None:
    off, on = camera(20 * S, revision=2, deleted=True), camera(50 * S, revision=3)
    events = [connected(E0, 0), lost(E0, 9, 20 * S, "stream_changed"), connected(E1, 60 * S)]
    assert states_s([stored(E0, 0, 9, 0, 20)], events, revisions=[on, LONG_AGO, off]) == [
        ("recorded", 0, 20),
        ("not_expected", 20, 60),
        ("gap", 60, 100, "service_down"),
    ]


@pytest.mark.correctness
@pytest.mark.parametrize("dated_s", [-300, 1, 50, 99])
def test_a_camera_is_disabled_from_the_append_time_on_not_updated_us(dated_s: int) -> None:
    off = camera(dated_s * S, appended_us=60 * S, revision=2, enabled=False)
    events = [refused(10 * S, "camera_unreachable", next_retry_s=300.0)]
    assert states_s([stored(E0, 0, 9, 0, 36)], events, revisions=[LONG_AGO, off]) == [
        ("recorded", 0, 36),
        ("gap", 36, 60, "camera_unreachable"),
        ("not_expected", 60, 100),
    ]


@pytest.mark.correctness
@pytest.mark.parametrize("dated_s", [11, 40, 99])
def test_a_camera_is_enabled_from_the_append_time_on_not_updated_us(dated_s: int) -> None:
    off = camera(10 * S, appended_us=10 * S, revision=2, enabled=False)
    on = camera(dated_s * S, appended_us=40 * S, revision=3)
    events = [refused(50 * S, "not_found", next_retry_s=300.0)]
    states = states_s([stored(E0, 0, 9, 0, 10)], events, revisions=[LONG_AGO, off, on])
    assert states == [("recorded", 0, 10), ("not_expected", 10, 50), ("gap", 50, 100, "not_found")]


@pytest.mark.correctness
def test_a_new_camera_is_expected_thirty_seconds_after_its_append_time_at_the_latest() -> None:
    for dated_s in (0, 90):
        new = camera(dated_s * S, appended_us=20 * S)
        assert states_s(revisions=[new]) == [("not_expected", 0, 50), ("gap", 50, 100, "service_down")]


@pytest.mark.correctness
def test_the_first_revision_in_a_copied_log_hides_no_earlier_gap() -> None:
    first = camera(5 * S, appended_us=900 * S)
    gone = camera(950 * S, appended_us=900 * S, revision=2, deleted=True)
    events = [connected(E0, 6 * S), lost(E0, 3, 30 * S, "source_silent", next_retry_s=300.0)]
    for revisions in ([first], [first, gone]):
        assert states_s([stored(E0, 0, 3, 6, 30)], events, revisions=revisions) == [
            ("not_expected", 0, 6),
            ("recorded", 6, 30),
            ("gap", 30, 100, "source_silent"),
        ]


def test_a_revision_indexed_with_and_without_append_time_counts_once() -> None:
    off = camera(1 * S, appended_us=60 * S, revision=2, enabled=False)
    twice = [LONG_AGO, Revision(off.camera), off]
    assert states_s([stored(E0, 0, 9, 0, 36)], revisions=twice) == [
        ("recorded", 0, 36),
        ("gap", 36, 60, "service_down"),
        ("not_expected", 60, 100),
    ]


def test_time_after_the_settled_watermark_is_pending() -> None:
    assert states_s([stored(E0, 0, 0, 0, 10)], log_us=105 * S) == [
        ("recorded", 0, 10),
        ("gap", 10, 30, "service_down"),
        ("pending", 30, 100),
    ]


def test_the_future_is_pending() -> None:
    assert states_s([stored(E0, 0, 0, 0, 10)], now_us=10 * S) == [("recorded", 0, 10), ("pending", 10, 100)]


def test_a_shed_covers_its_range_though_the_seq_is_missing() -> None:
    entries = [stored(E0, 0, 0, 0, 10), stored(E0, 2, 2, 20, 100)]
    events = [connected(E0, 0), shed(E0, 10 * S, 20 * S)]
    assert states_s(entries, events) == [
        ("recorded", 0, 10),
        ("gap", 10, 20, "shed_backpressure"),
        ("recorded", 20, 100),
    ]


def test_of_two_overlapping_sheds_the_earlier_start_decides() -> None:
    events = [shed(E0, 0, 60 * S, "stream_error"), shed(E1, 20 * S, 100 * S), shed(E1, 30 * S, 40 * S)]
    assert states_s([], events) == [("gap", 0, 60, "stream_error"), ("gap", 60, 100, "shed_backpressure")]


def test_a_missing_seq_before_a_later_one_is_pipeline_loss() -> None:
    entries = [stored(E0, 0, 4, 0, 10), stored(E0, 6, 9, 12, 100)]
    assert states_s(entries, [connected(E0, 0)])[1] == ("gap", 10, 12, "pipeline_loss")


def test_missing_first_seqs_are_lost_from_connected_on() -> None:
    assert states_s([stored(E0, 3, 9, 50, 100)], [connected(E0, 20 * S)]) == [
        ("gap", 0, 20, "service_down"),
        ("gap", 20, 50, "pipeline_loss"),
        ("recorded", 50, 100),
    ]


def test_without_connected_the_first_stored_seq_begins_the_epoch() -> None:
    assert states_s([stored(E0, 3, 9, 50, 100)])[0] == ("gap", 0, 50, "service_down")


def test_lost_proves_its_last_seq_once_the_watermark_passes_it() -> None:
    entries = [stored(E0, 0, 4, 0, 10)]
    events: list[CameraEvent | LoggedEvent] = [
        connected(E0, 0),
        LoggedEvent(lost(E0, 9, 20 * S, "handover", next_retry_s=100), 300 * S),
    ]
    for log_s, state in ((300, ("pending", 10, 20)), (301, ("gap", 10, 20, "pipeline_loss"))):
        assert states_s(entries, events, log_us=log_s * S)[1] == state


def test_a_repeated_lost_keeps_the_loss_proven() -> None:
    word = lost(E0, 9, 20 * S, "handover", next_retry_s=100)
    events: list[CameraEvent | LoggedEvent] = [connected(E0, 0), LoggedEvent(word, 9000 * S), LoggedEvent(word, 20 * S)]
    assert states_s([stored(E0, 0, 4, 0, 10)], events, log_us=300 * S)[1] == ("gap", 10, 20, "pipeline_loss")


def test_a_loss_stays_proven_when_a_later_epoch_is_lost_too() -> None:
    entries = [stored(E0, 0, 4, 0, 10), stored(E1, 0, 9, 20, 40)]
    events = [
        connected(E0, 0),
        lost(E0, 9, 20 * S, "camera_unreachable", next_retry_s=5.0),
        connected(E1, 20 * S),
        lost(E1, 9, 40 * S, "source_silent", next_retry_s=300.0),
    ]
    assert states_s(entries, events) == [
        ("recorded", 0, 10),
        ("gap", 10, 20, "pipeline_loss"),
        ("recorded", 20, 40),
        ("gap", 40, 100, "source_silent"),
    ]


def test_nested_or_overlapping_copies_hide_no_hole() -> None:
    entries = [stored(E0, 0, 4, 0, 10), stored(E0, 1, 2, 2, 6), stored(E0, 3, 6, 6, 14), stored(E0, 8, 49, 16, 100)]
    assert states_s(entries, [connected(E0, 0)]) == [
        ("recorded", 0, 14),
        ("gap", 14, 16, "pipeline_loss"),
        ("recorded", 16, 100),
    ]


def test_lost_explains_until_its_retry_plus_thirty_seconds_then_service_down() -> None:
    events = [connected(E0, 0), lost(E0, 4, 10 * S, "camera_unreachable", detail="reset", next_retry_s=5.0)]
    assert states_s([stored(E0, 0, 4, 0, 10)], events) == [
        ("recorded", 0, 10),
        ("gap", 10, 45, "camera_unreachable", "reset"),
        ("gap", 45, 100, "service_down"),
    ]


@pytest.mark.parametrize("retry_s", [float("nan"), float("inf"), -5.0])
def test_an_invalid_next_retry_counts_as_0(retry_s: float) -> None:
    events = [lost(E0, 4, 10 * S, "camera_unreachable", next_retry_s=retry_s)]
    assert states_s([stored(E0, 0, 4, 0, 10)], events)[1] == ("gap", 10, 40, "camera_unreachable")


def test_causes_split_a_gap_where_they_change() -> None:
    events = [
        connected(E0, 0),
        lost(E0, 4, 10 * S, "source_silent", next_retry_s=60.0),
        refused(30 * S, "auth_failed", next_retry_s=60.0),
        connected(E1, 50 * S),
    ]
    assert states_s([stored(E0, 0, 4, 0, 10), stored(E1, 0, 4, 50, 100)], events) == [
        ("recorded", 0, 10),
        ("gap", 10, 30, "source_silent"),
        ("gap", 30, 50, "auth_failed"),
        ("recorded", 50, 100),
    ]


def test_lost_of_an_epoch_is_ignored_once_another_has_connected() -> None:
    events = [connected(E0, 0), connected(E1, 10 * S), lost(E0, 4, 20 * S, "handover", next_retry_s=60.0)]
    assert states_s([stored(E0, 0, 4, 0, 20)], events)[1] == ("gap", 20, 100, "service_down")


def _handed_over(*between: Lost, last: Cause) -> list[CameraEvent]:
    """E1 connects while E0 is current, and ends at 20 s by handover; E0's `lost` takes effect at 30 s."""
    return [
        connected(E0, 0),
        connected(E1, 10 * S),
        *between,
        lost(E1, 1, 20 * S, "handover", next_retry_s=60.0),
        lost(E0, 4, 30 * S, last, next_retry_s=60.0),
    ]


@pytest.mark.correctness
def test_after_a_handover_the_epoch_that_connected_before_is_current() -> None:
    entries = [stored(E0, 0, 4, 0, 30), stored(E1, 0, 1, 10, 20)]
    assert states_s(entries, _handed_over(last="source_silent"))[1] == ("gap", 30, 100, "source_silent")


@pytest.mark.correctness
def test_an_ended_epoch_is_not_current_again_after_a_handover() -> None:
    entries = [stored(E0, 0, 4, 0, 15), stored(E1, 0, 1, 10, 20)]
    over = lost(E0, 4, 15 * S, "source_silent", next_retry_s=60.0)
    events = _handed_over(over, last="clock_step")
    assert states_s(entries, events)[1] == ("gap", 20, 100, "handover")


def _ahead(ahead_s: int, delay_s: int = 0) -> list[LoggedEvent]:
    """Events of an ingest whose clock is ahead at its start; half a second later it detects that and begins a new epoch.

    Append times are `delay_s` late.
    """
    return [
        LoggedEvent(connected(E0, (ahead_s + 1) * S), (2 + delay_s) * S),
        LoggedEvent(lost(E0, 1, (ahead_s + 2) * S, "clock_step", at_us=2 * S), (3 + delay_s) * S),
        LoggedEvent(connected(E1, 2 * S), (4 + delay_s) * S),
    ]


@pytest.mark.correctness
@pytest.mark.parametrize("ahead_s", [5, 60, 25_200])
@pytest.mark.parametrize("delay_s", [0, 100])
def test_a_lost_takes_effect_after_an_epoch_whose_clock_was_ahead(ahead_s: int, delay_s: int) -> None:
    end = LoggedEvent(lost(E1, 1, 30 * S, "source_silent", next_retry_s=99), (31 + delay_s) * S)
    entries = [stored(E0, 0, 1, ahead_s + 1, ahead_s + 2), stored(E1, 0, 1, 2, 30)]
    states = states_s(entries, [*_ahead(ahead_s, delay_s), end], window=(10, 50))
    assert states == [("recorded", 10, 30), ("gap", 30, 50, "source_silent")]


@pytest.mark.correctness
def test_an_event_of_a_clock_ahead_explains_nothing_after_its_append_time() -> None:
    words = [
        LoggedEvent(refused(60 * S, "auth_failed", next_retry_s=20.0), 1 * S),
        LoggedEvent(connected(E1, 5 * S), 6 * S),
        LoggedEvent(lost(E1, 1, 50 * S, "source_silent", next_retry_s=99), 51 * S),
    ]
    assert states_s([stored(E1, 0, 1, 5, 50)], words) == [
        ("gap", 0, 1, "service_down"),
        ("gap", 1, 5, "auth_failed"),
        ("recorded", 5, 50),
        ("gap", 50, 100, "source_silent"),
    ]
    assert states_s([], words[:1])[1:] == [("gap", 1, 51, "auth_failed"), ("gap", 51, 100, "service_down")]


@pytest.mark.correctness
def test_append_order_decides_only_between_events_of_one_ingest() -> None:
    """A late event of a disconnected ingest does not end the epoch of the ingest that has taken over."""
    late = LoggedEvent(replace(connected(E0, 1 * S), instance="zombie"), 90 * S)
    other = LoggedEvent(connected(E1, 20 * S), 21 * S)
    end = LoggedEvent(lost(E1, 1, 40 * S, "source_silent", next_retry_s=99), 95 * S)
    entries = [stored(E0, 0, 1, 1, 21), stored(E1, 0, 1, 20, 40)]
    assert states_s(entries, [late, other, end], window=(30, 60)) == [
        ("recorded", 30, 40),
        ("gap", 40, 60, "source_silent"),
    ]


@pytest.mark.correctness
def test_a_clock_skew_under_a_second_changes_nothing() -> None:
    words = [
        LoggedEvent(lost(E0, 1, 10 * S, "source_silent", next_retry_s=99), 10 * S),
        LoggedEvent(connected(E1, 20 * S), round(19.1 * S)),
    ]
    assert states_s([stored(E0, 0, 1, 0, 10), stored(E1, 0, 1, 20, 100)], words)[1] == (
        "gap", 10, 20, "source_silent",
    )  # fmt: skip


def test_an_hourly_repeat_of_connected_changes_nothing() -> None:
    events = [
        connected(E0, 0),
        connected(E1, 5 * S),
        lost(E1, 4, 30 * S, "source_silent", next_retry_s=99),
        connected(E0, 40 * S),
    ]
    assert states_s([stored(E1, 0, 4, 0, 30)], events)[1] == ("gap", 30, 100, "source_silent")


def test_a_hole_under_half_a_second_is_not_a_gap() -> None:
    events = [connected(E0, 0), lost(E0, 4, 10 * S, "stream_changed"), connected(E1, round(10.5 * S))]
    entries = [stored(E0, 0, 4, 0, 10), stored(E1, 0, 4, 10.4, 100)]
    assert states_s(entries, events) == [("recorded", 0, 100)]
    later = [stored(E0, 0, 4, 0, 10), stored(E1, 0, 4, 10.5, 100)]
    assert states_s(later, events)[1] == ("gap", 10, 10.5, "stream_changed")


def test_a_short_hole_with_a_missing_seq_or_a_shed_is_a_gap() -> None:
    entries = [stored(E0, 0, 4, 0, 10), stored(E0, 6, 9, 10.4, 100)]
    assert states_s(entries)[1:2] == [("gap", 10, 10.4, "pipeline_loss")]
    dropped = shed(E0, round(10.1 * S), round(10.4 * S))
    between = [stored(E0, 0, 4, 0, 10), stored(E1, 0, 4, 10.4, 100)]
    assert states_s(between, [dropped])[1:3] == [
        ("gap", 10, 10.1, "service_down"),
        ("gap", 10.1, 10.4, "shed_backpressure"),
    ]


def test_a_short_hole_after_an_interruption_is_a_gap() -> None:
    entries = [stored(E0, 0, 4, 0, 10), stored(E1, 0, 4, 10.4, 100)]
    ended = lost(E0, 4, 10 * S, "handover", interrupted=True)
    after = connected(E1, round(10.4 * S))
    assert states_s(entries, [connected(E0, 0), ended, after])[1:2] == [("gap", 10, 10.4, "handover")]
    went_on = lost(E0, 4, 10 * S, "stream_changed")
    assert states_s(entries, [connected(E0, 0), went_on, after]) == [("recorded", 0, 100)]


def test_a_short_hole_is_a_gap_if_the_interruption_is_before_the_window() -> None:
    entries = [stored(E0, 0, 4, 0, 9.8), stored(E1, 0, 4, 10.2, 100)]
    ended = lost(E0, 4, round(9.8 * S), "handover", interrupted=True)
    events = [connected(E0, 0), ended, refused(round(9.9 * S), "not_found"), connected(E1, round(10.2 * S))]
    assert states_s(entries, events)[1:3] == [("gap", 9.8, 9.9, "handover"), ("gap", 9.9, 10.2, "not_found")]
    assert states_s(entries, events, window=(10, 100))[0] == ("gap", 10, 10.2, "not_found")


def test_an_interruption_of_a_replaced_epoch_is_not_a_gap() -> None:
    """The new ingest's epoch was followed by another one, and the clocks differ slightly."""
    entries = [stored(E0, 0, 4, 0, 10), stored(E1, 0, 9, 5, 10), stored(E2, 0, 9, 10.1, 100)]
    events = [
        connected(E0, 0),
        connected(E1, 5 * S),
        lost(E0, 4, 10 * S, "handover", interrupted=True),
        lost(E1, 9, 10 * S, "stream_changed"),
        connected(E2, round(10.1 * S)),
    ]
    assert states_s(entries, events) == [("recorded", 0, 100)]


def test_unexplained_gaps_in_a_truncated_partition_are_storage_down() -> None:
    entries = [stored(E0, 0, 4, 0, 10), stored(E0, 20, 24, 40, 50)]
    events = [connected(E0, 0), lost(E0, 24, 50 * S, "source_silent", next_retry_s=0.0)]
    assert states_s(entries, events, truncations=[truncation(20 * S, 60 * S), truncation(90 * S, 95 * S)]) == [
        ("recorded", 0, 10),
        ("gap", 10, 20, "pipeline_loss"),
        ("gap", 20, 40, "storage_down"),
        ("recorded", 40, 50),
        ("gap", 50, 80, "source_silent"),
        ("gap", 80, 90, "service_down"),
        ("gap", 90, 95, "storage_down"),
        ("gap", 95, 100, "service_down"),
    ]


def test_sums() -> None:
    states = [
        State("recorded", 0, 50),
        State("gap", 50, 60, "handover"),
        State("gap", 60, 61, "service_down"),
        State("gap", 61, 64, "handover", "again"),
        State("pending", 64, 100),
        State("not_expected", 100, 900),
    ]
    assert summary(states) == Summary(recorded_us=50, gap_us=14, pending_us=36)
    assert gap_us_by_cause(states) == {"handover": 13, "service_down": 1}
