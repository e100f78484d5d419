"""The ledger, one pure function: from segments, events, camera revisions and `log_us` to states that tile a window."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from districam_common.contract.events import Cause, FootageExpired, PartitionTruncated
from districam_common.contract.segment_array import SegmentArray
from districam_common.ledger.causes import (
    BEGINNING,
    FOREVER,
    Attribution,
    EffectivePeriod,
    Holes,
    LoggedEvent,
    attributions,
    effective_periods,
    find_holes,
    interruptions,
    shed_attributions,
    status_changes,
)
from districam_common.ledger.expectation import Revision, expected_intervals
from districam_common.ledger.intervals import Interval, gaps, intersects, merge, merge_arrays

__all__ = ["LedgerInputs", "LoggedEvent", "Revision", "State", "Summary", "gap_us_by_cause", "ledger", "summary"]

SETTLE_US = 75_000_000
"""Longer than the sum of the reader's silence timeout, Kafka's session timeout and a reconnection."""
MIN_GAP_US = 500_000
"""Shorter holes between epochs count as recorded, unless data are known to be missing in them."""

StateName = Literal["recorded", "gap", "pending", "expired", "not_expected"]


@dataclass(frozen=True, slots=True)
class State:
    """The state of [from_us, to_us). Only a gap has a cause; `detail` is that of the event which decides the cause."""

    state: StateName
    from_us: int
    to_us: int
    cause: Cause | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Disjoint states in order of time. Of all layers, the first that has a state at an instant decides it."""

    states: list[State]

    def at(self, at_us: int) -> State | None:
        n = bisect_right(self.states, at_us, key=lambda state: state.from_us) - 1
        return self.states[n] if n >= 0 and at_us < self.states[n].to_us else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerInputs:
    """Everything known about one camera.

    Attributes:
        revisions: every revision of its record, in any order, repeats allowed. Empty: the camera never existed.
        segments: its segments (`SEGMENT_DTYPE`), in any order, repeats and copies allowed. They must extend an hour
            beyond the window on both sides, where stored: later segments prove that earlier ones are missing.
        events: all its events, in any order, repeats allowed.
        truncations: the `partition.fell` events of its partition of `fragments`.
        log_us: everything up to this instant in its partition is stored and indexed, µs UTC; 0 if unknown.
    """

    revisions: Sequence[Revision]
    segments: SegmentArray
    events: Sequence[LoggedEvent]
    truncations: Sequence[PartitionTruncated] = ()
    log_us: int


def ledger(window: Interval, inputs: LedgerInputs, *, now_us: int, settle_us: int = SETTLE_US) -> list[State]:
    """The state of each instant of `window`: states that tile it, in order; adjacent states differ.

    Args:
        window: half-open, µs UTC.
        inputs: everything known about the camera.
        now_us: the current time; everything after it is pending.
        settle_us: everything after `log_us - settle_us` that is not recorded is pending.
    """
    segments, events, log_us = inputs.segments, inputs.events, inputs.log_us
    recorded = merge_arrays(segments["start_us"], segments["end_us"])
    holes = find_holes(segments, events, log_us)
    shed_ranges = shed_attributions(events)
    changes = status_changes(events)
    periods = effective_periods(changes, (window[0] - MIN_GAP_US, window[1] + MIN_GAP_US))
    expired = merge((t.event.from_us, t.event.to_us) for t in events if isinstance(t.event, FootageExpired))
    recorded_or_short = merge([*recorded, *_short_gaps(recorded, holes, shed_ranges, periods)])
    expected_ranges = expected_intervals(inputs.revisions, segments, changes)
    layers = [
        _plain_layer("expired", expired),
        _plain_layer("recorded", recorded_or_short),
        _plain_layer("not_expected", gaps((BEGINNING, FOREVER), expected_ranges)),
        _plain_layer("pending", [(min(log_us - settle_us, now_us), FOREVER)]),
        _attributed_layer(shed_ranges),
        _plain_layer("pending", holes.unsettled),
        _attributed_layer(Attribution(*interval, "pipeline_loss") for interval in holes.lost),
        _attributed_layer(attributions(periods)),
    ]
    truncated = _plain_layer("gap", merge((f.from_us, f.to_us) for f in inputs.truncations))
    return _merge_adjacent(_resolve(window, layers, truncated))


def _plain_layer(name: StateName, intervals: Iterable[Interval]) -> _Layer:
    return _Layer([State(name, *interval) for interval in intervals])


def _attributed_layer(attributed: Iterable[Attribution]) -> _Layer:
    return _Layer([State("gap", b.from_us, b.to_us, b.cause, b.detail) for b in attributed])


def _resolve(window: Interval, layers: Sequence[_Layer], truncated: _Layer) -> Iterator[State]:
    """A state for each interval of the window between two edges of any layer."""
    edges = {edge for layer in (*layers, truncated) for s in layer.states for edge in (s.from_us, s.to_us)}
    inside = sorted(edge for edge in edges if window[0] < edge < window[1])
    for from_us, to_us in pairwise([window[0], *inside, window[1]]):
        if from_us < to_us:
            found = next(state for layer in layers if (state := layer.at(from_us)))
            cause, detail = found.cause, found.detail
            if cause in ("pipeline_loss", "service_down") and truncated.at(from_us):
                cause, detail = "storage_down", ""
            yield State(found.state, from_us, to_us, cause, detail)


def _merge_adjacent(states: Iterable[State]) -> list[State]:
    out: list[State] = []
    for new in states:
        old = out[-1] if out else None
        if old and (old.state, old.cause, old.detail) == (new.state, new.cause, new.detail):
            out[-1] = State(old.state, old.from_us, new.to_us, old.cause, old.detail)
        else:
            out.append(new)
    return out


def _short_gaps(
    recorded: Sequence[Interval], holes: Holes, shed_ranges: Sequence[Attribution], periods: Sequence[EffectivePeriod]
) -> list[Interval]:
    """Gaps shorter than `MIN_GAP_US` between epochs, where nothing is known to be missing; they count as recorded."""
    all_gaps = [(before[1], after[0]) for before, after in pairwise(recorded)]
    short_gaps = [hole for hole in all_gaps if hole[1] - hole[0] < MIN_GAP_US]
    if not short_gaps:
        return []
    sheds = [(b.from_us, b.to_us) for b in shed_ranges]
    known = merge([*holes.lost, *holes.unsettled, *sheds, *interruptions(periods)])
    return [hole for hole in short_gaps if not intersects(known, *hole)]


# ---- sums


@dataclass(frozen=True, slots=True)
class Summary:
    """Microseconds of a window that are recorded, gap and pending."""

    recorded_us: int
    gap_us: int
    pending_us: int


def summary(states: Iterable[State]) -> Summary:
    """The total of each state, for the timeline response."""
    of: Counter[str] = Counter()
    for state in states:
        of[state.state] += state.to_us - state.from_us
    return Summary(of["recorded"], of["gap"], of["pending"])


def gap_us_by_cause(states: Iterable[State]) -> dict[Cause, int]:
    """Microseconds of gap by cause; causes without a gap are absent."""
    out: dict[Cause, int] = {}
    for state in states:
        if state.cause is not None:
            out[state.cause] = out.get(state.cause, 0) + state.to_us - state.from_us
    return out
