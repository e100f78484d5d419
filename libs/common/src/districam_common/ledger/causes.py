"""Causes of gaps, from stream events and from missing `seq` numbers (docs/design/contract.md, The ledger)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter, lt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from districam_common.contract.events import CameraEvent, Cause, Connected, Lost, Refused, Shed
from districam_common.contract.segment_array import SegmentArray, epoch_text
from districam_common.ledger.intervals import Interval, merge

BEGINNING, FOREVER = -(1 << 62), 1 << 62
"""Before and after every instant, within int64."""
RETRY_MARGIN_US = 30_000_000
"""How long after the announced retry a `lost` or `refused` still explains a gap; after that, ingest must have stopped."""

CLOCK_TOLERANCE_US = 1_000_000
"""Tolerated offset of a host's clock; beyond it, ingest ends its epochs because of the broker's append times
(contract.md, Our clock)."""

StatusEvent = Connected | Lost | Refused


class StatusChange(NamedTuple):
    """A `connected`, `lost` or `refused`, the instant at which it takes effect, and its append time (None: unknown)."""

    effective_us: int
    event: StatusEvent
    appended_us: int | None

    @property
    def reported_us(self) -> int:
        """The event's `at_us`, or its append time if `at_us` lies ahead of the broker's clock beyond the tolerance."""
        return _clamped_to_append(self.event.at_us, self.appended_us)


def event_effective_us(event: StatusEvent) -> int:
    """When the event takes effect, by the clock of the ingest that sent it."""
    return event.end_us if isinstance(event, Lost) else event.at_us


def _clamped_to_append(at_us: int, appended_us: int | None) -> int:
    """`at_us`, or the append time if `at_us` is more than `CLOCK_TOLERANCE_US` after it."""
    return at_us if appended_us is None or at_us <= appended_us + CLOCK_TOLERANCE_US else appended_us


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A camera's event and its append time by the broker's clock; None if unknown.

    Known for `connected`, `lost` and `refused`, but not for the hourly repeats of `connected`.
    """

    event: CameraEvent
    appended_us: int | None = None
    status_change: StatusChange | None = field(init=False, repr=False, compare=False)
    """Set for `connected`, `lost` and `refused`; computed once, since cached events are evaluated many times."""

    def __post_init__(self) -> None:
        event, change = self.event, None
        if isinstance(event, Connected | Lost | Refused):
            change = StatusChange(
                _clamped_to_append(event_effective_us(event), self.appended_us), event, self.appended_us
            )
        object.__setattr__(self, "status_change", change)


@dataclass(frozen=True, slots=True)
class Attribution:
    """The cause of any gap within [from_us, to_us)."""

    from_us: int
    to_us: int
    cause: Cause
    detail: str = ""


# ---- the event that decides each instant


def status_changes(events: Iterable[LoggedEvent]) -> list[StatusChange]:
    """The `connected`, `lost` and `refused` events, sorted by the instant at which they take effect.

    `lost` takes effect at its epoch's end, `connected` at the first access unit, `refused` at `at_us`; but none after
    its append time, nor after a later event of the same ingest: in both cases the ingest's clock was ahead.
    """
    changes = [one.status_change for one in events if one.status_change is not None]
    changes.sort(key=itemgetter(0))
    if not _is_in_log_order(changes):
        changes = sorted(_clamped_to_log_order(changes), key=itemgetter(0))
    effects = [change[0] for change in changes]
    if all(map(lt, effects, effects[1:])):
        return changes
    out: list[StatusChange] = []
    for _, equals in groupby(changes, key=itemgetter(0)):
        same = list(equals)
        out += same if len(same) == 1 else sorted(same, key=_tie_break_key)  # ties only: the key's repr() is slow
    return out


def _is_in_log_order(changes: Iterable[StatusChange]) -> bool:
    """Whether each ingest's events take effect in the order of their append times."""
    newest_us: dict[str, int] = {}
    for _, event, appended_us in changes:
        if appended_us is not None:
            if appended_us < newest_us.get(event.instance, appended_us):
                return False
            newest_us[event.instance] = appended_us
    return True


def _clamped_to_log_order(changes: Iterable[StatusChange]) -> Iterator[StatusChange]:
    """The changes, none taking effect after a later one of the same ingest; the log keeps each ingest's order."""
    earliest_us: dict[str, int] = {}
    for at_us, event, appended_us in sorted(changes, key=_log_order_key, reverse=True):
        effect = at_us
        if appended_us is not None:
            effect = min(at_us, earliest_us.get(event.instance, at_us))
            earliest_us[event.instance] = effect
        yield StatusChange(effect, event, appended_us)


def _log_order_key(change: StatusChange) -> tuple[int, int, bool]:
    return _append_order(change), change.effective_us, not isinstance(change.event, Lost)


def _tie_break_key(change: StatusChange) -> tuple[int, bool, str]:
    """Order of events that take effect at one instant: by append time; if that is equal or unknown, `lost` first."""
    return _append_order(change), not isinstance(change.event, Lost), repr(change.event)


def _append_order(change: StatusChange) -> int:
    return FOREVER if change.appended_us is None else change.appended_us


def effective_changes(ordered: Iterable[StatusChange]) -> Iterator[StatusChange]:
    """The changes that have an effect: without hourly repeats, and without `lost` of an epoch that another one replaced.

    When an epoch ends by `handover`, the epoch that had connected before it, if still open, is current again.
    """
    holders, connected = list[str](), set[str]()
    for change in ordered:
        event = change.event
        if isinstance(event, Lost) and holders and holders[-1] != event.epoch:
            holders = [epoch for epoch in holders if epoch != event.epoch]
            continue
        if isinstance(event, Lost) and event.cause == "handover":
            holders = holders[:1]
        if isinstance(event, Connected):
            if event.epoch in connected:
                continue
            holders = [*holders[-1:], event.epoch]
            connected.add(event.epoch)
        yield change


@dataclass(frozen=True, slots=True)
class EffectivePeriod:
    """A status change, and the interval in which it is the current one."""

    change: StatusChange
    from_us: int
    to_us: int


def effective_periods(ordered: Iterable[StatusChange], window: Interval) -> list[EffectivePeriod]:
    """The periods of `status_changes` that touch the window, not cut to it. They are adjacent; the last ends at FOREVER."""
    deciding = list(effective_changes(ordered))
    edges = [*(change.effective_us for change in deciding), FOREVER]
    return [
        EffectivePeriod(change, from_us, to_us)
        for change, from_us, to_us in zip(deciding, edges, edges[1:], strict=False)
        if from_us < window[1] and window[0] < to_us
    ]


def interruptions(periods: Iterable[EffectivePeriod]) -> list[Interval]:
    """The periods of `lost` events after which pictures may be missing (`interrupted`)."""
    return [(r.from_us, r.to_us) for r in periods if isinstance(r.change.event, Lost) and r.change.event.interrupted]


def attributions(periods: Sequence[EffectivePeriod]) -> list[Attribution]:
    """The cause by the current event at each instant: from BEGINNING to the end of the last period."""
    out = [Attribution(BEGINNING, periods[0].from_us if periods else FOREVER, "service_down")]
    for period in periods:
        event, until_us = period.change.event, period.from_us
        if not isinstance(event, Connected):
            until_us = min(max(period.from_us, _explains_until_us(event, period.change.reported_us)), period.to_us)
            out.append(Attribution(period.from_us, until_us, event.cause, event.detail))
        out.append(Attribution(until_us, period.to_us, "service_down"))
    return [attribution for attribution in out if attribution.from_us < attribution.to_us]


def _explains_until_us(event: Lost | Refused, reported_us: int) -> int:
    """Until when the event explains a gap: its next retry plus `RETRY_MARGIN_US`."""
    retry_s = event.next_retry_s if 0 <= event.next_retry_s < 1e9 else 0.0  # decoded from JSON: may be NaN
    return reported_us + round(retry_s * 1e6) + RETRY_MARGIN_US


def shed_attributions(events: Iterable[LoggedEvent]) -> list[Attribution]:
    """The ranges that ingest shed, disjoint and in order; where two overlap, the one with the earlier start decides."""
    found = [t.event for t in events if isinstance(t.event, Shed)]
    out: list[Attribution] = []
    reach_us = BEGINNING
    for event in sorted(found, key=lambda e: (e.start_us, e.end_us, e.cause)):
        if event.end_us > max(reach_us, event.start_us):
            out.append(Attribution(max(reach_us, event.start_us), event.end_us, event.cause))
            reach_us = event.end_us
    return out


# ---- missing seqs


@dataclass(frozen=True, slots=True)
class Holes:
    """Merged intervals of `seq`s that existed and are not stored (`lost`), and of those that may still be in Kafka."""

    lost: list[Interval]
    unsettled: list[Interval]


@dataclass(frozen=True, slots=True)
class _EpochEnd:
    """An epoch's end according to its `lost` events."""

    last_seq: int
    end_us: int
    appended_us: int


@dataclass(frozen=True, slots=True)
class _StoredEnd:
    """How far an epoch is stored: its greatest `seq` (-1 for none), and the end of that fragment."""

    seq: int
    end_us: int


def find_holes(segments: SegmentArray, events: Sequence[LoggedEvent], log_us: int) -> Holes:
    """The time of missing `seq`s: a later stored `seq` of the epoch, or its `lost`, proves that they existed.

    An epoch begins at its `connected`, or without one at its first stored `seq`. A `lost` proves its `last_seq` once
    `log_us` is past its append time: everything before it in Kafka is announced by then.
    """
    beginnings = _epoch_starts(events)
    reached = {epoch: _StoredEnd(-1, at_us) for epoch, at_us in beginnings.items()}
    lost = _holes_between_segments(segments, beginnings, reached)
    unsettled: list[Interval] = []
    for epoch, ending in _epoch_ends(events).items():
        stored_end = reached.get(epoch)
        if stored_end is not None and ending.last_seq > stored_end.seq:
            settled = ending.appended_us < log_us
            (lost if settled else unsettled).append((stored_end.end_us, ending.end_us))
    return Holes(merge(lost), merge(unsettled))


def _epoch_starts(events: Iterable[LoggedEvent]) -> dict[str, int]:
    out: dict[str, int] = {}
    for event in (t.event for t in events):
        if isinstance(event, Connected):
            out[event.epoch] = min(event.at_us, out.get(event.epoch, event.at_us))
    return out


def _epoch_ends(events: Iterable[LoggedEvent]) -> dict[str, _EpochEnd]:
    """By epoch. Of repeated `lost` events the earliest append time counts, so that a proven loss stays proven."""
    out: dict[str, _EpochEnd] = {}
    for one in events:
        if isinstance(one.event, Lost):
            appended_us = BEGINNING if one.appended_us is None else one.appended_us
            new = _EpochEnd(one.event.last_seq, one.event.end_us, appended_us)
            old = out.get(one.event.epoch, new)
            out[one.event.epoch] = _EpochEnd(
                max(old.last_seq, new.last_seq), max(old.end_us, new.end_us), min(old.appended_us, new.appended_us)
            )
    return out


def _holes_between_segments(
    segments: SegmentArray, beginnings: Mapping[str, int], reached: dict[str, _StoredEnd]
) -> list[Interval]:
    """Holes before a stored `seq`. Also sets `reached` to how far each epoch is stored."""
    if not len(segments):
        return []
    rows = segments.take(order_by_seq(segments))
    starts_epoch = np.ones(len(rows), dtype=bool)
    starts_epoch[1:] = (rows["epoch_hi"][1:] != rows["epoch_hi"][:-1]) | (rows["epoch_lo"][1:] != rows["epoch_lo"][:-1])
    far = _farthest(starts_epoch, rows["last_seq"])
    before = np.concatenate(([0], far[:-1]))  # row with the greatest last_seq so far; unused where an epoch starts
    inner = np.flatnonzero(~starts_epoch & (rows["first_seq"] > rows["last_seq"][before] + 1))
    ends_us, starts_us = rows["end_us"][before[inner]].tolist(), rows["start_us"][inner].tolist()
    out: list[Interval] = list(zip(ends_us, starts_us, strict=True))

    heads = np.flatnonzero(starts_epoch)
    tails = far[np.concatenate((heads[1:] - 1, [len(rows) - 1]))]
    for head, tail in zip(rows[heads].tolist(), rows[tails].tolist(), strict=True):
        epoch = epoch_text(head[0], head[1])
        if head[2] > 0 and epoch in beginnings:
            out.append((beginnings[epoch], head[4]))
        reached[epoch] = _StoredEnd(tail[3], tail[5])
    return out


def order_by_seq(segments: SegmentArray) -> NDArray[np.intp]:
    """Row numbers in the order of epoch, then first `seq`; of copies with the same first `seq` the longest first."""
    return np.lexsort((-segments["last_seq"], segments["first_seq"], segments["epoch_lo"], segments["epoch_hi"]))


def _farthest(starts_epoch: NDArray[np.bool], last_seq: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, the first row with the greatest `last_seq` among its epoch's rows up to it."""
    rank = (np.cumsum(starts_epoch) << 33) + last_seq
    best = np.maximum.accumulate(rank)
    is_new = np.concatenate(([True], rank[1:] > best[:-1]))
    return np.maximum.accumulate(np.where(is_new, np.arange(len(rank)), 0))
