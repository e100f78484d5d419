"""Why a second is not stored: the evidence of stream events and of `seq`s that are missing (docs/design/contract.md, The ledger)."""

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
RETRY_MARGIN_US = 30_000_000
"""How long past the announced retry a `lost` or `refused` still explains the silence; then its service is gone."""

CLOCK_TOLERANCE_US = 1_000_000
"""A host's clock may be off by this much before the broker's acknowledgements end its epochs (contract.md, Our clock)."""

StatusEvent = Connected | Lost | Refused


class StatusChange(NamedTuple):
    """A `connected`, `lost` or `refused`, when it takes effect, and when the log took it (None: nobody knows)."""

    effective_us: int
    event: StatusEvent
    appended_us: int | None

    @property
    def reported_us(self) -> int:
        """When it was said: its `at_us`, unless the broker's clock proves that time to lie ahead."""
        return _clamped_to_append(self.event.at_us, self.appended_us)


def event_effective_us(event: StatusEvent) -> int:
    """When it takes effect by the clock of who says it."""
    return event.end_us if isinstance(event, Lost) else event.at_us


def _clamped_to_append(at_us: int, appended_us: int | None) -> int:
    """`at_us`, if it is not proven to lie ahead of the broker's clock by more than a clock may be off."""
    return at_us if appended_us is None or at_us <= appended_us + CLOCK_TOLERANCE_US else appended_us


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A camera's event and when the log took it, by the broker's clock; None: nobody knows.

    It is known of `connected`, `lost` and `refused`. An hourly repeat of `connected` has none.
    """

    event: CameraEvent
    appended_us: int | None = None
    status_change: StatusChange | None = field(init=False, repr=False, compare=False)
    """Of one that says how the stream is; made here, since an event is kept and asked for again and again."""

    def __post_init__(self) -> None:
        event, change = self.event, None
        if isinstance(event, Connected | Lost | Refused):
            change = StatusChange(
                _clamped_to_append(event_effective_us(event), self.appended_us), event, self.appended_us
            )
        object.__setattr__(self, "status_change", change)


@dataclass(frozen=True, slots=True)
class Attribution:
    """[from_us, to_us), if not stored, has this cause."""

    from_us: int
    to_us: int
    cause: Cause
    detail: str = ""


# ---- the event in force


def status_changes(events: Iterable[LoggedEvent]) -> list[StatusChange]:
    """Connected, lost and refused in the order in which they take effect, whatever the order given.

    `lost` takes effect where its epoch ended, `connected` at the first access unit, `refused` when said. But nothing takes
    effect after the log took it, nor after what the same ingest said later: there the ingest's clock was ahead.
    """
    changes = [one.status_change for one in events if one.status_change is not None]
    changes.sort(key=itemgetter(0))
    if not _is_in_log_order(changes):
        changes = sorted(_clamped_to_log_order(changes), key=itemgetter(0))
    effects = [word[0] for word in changes]
    if all(map(lt, effects, effects[1:])):
        return changes
    out: list[StatusChange] = []
    for _, equals in groupby(changes, key=itemgetter(0)):
        same = list(equals)
        out += same if len(same) == 1 else sorted(same, key=_tie_break_key)  # few are; to spell an event out takes long
    return out


def _is_in_log_order(changes: Iterable[StatusChange]) -> bool:
    """Whether each ingest's words take effect in the order in which the log took them."""
    newest_us: dict[str, int] = {}
    for _, event, appended_us in changes:
        if appended_us is not None:
            if appended_us < newest_us.get(event.instance, appended_us):
                return False
            newest_us[event.instance] = appended_us
    return True


def _clamped_to_log_order(changes: Iterable[StatusChange]) -> Iterator[StatusChange]:
    """The words, none with effect after what the same ingest said later: one ingest's words are in the log in their order."""
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
    """Of words that take effect at one instant: as the log has them; `lost` first where it cannot tell."""
    return _append_order(change), not isinstance(change.event, Lost), repr(change.event)


def _append_order(change: StatusChange) -> int:
    return FOREVER if change.appended_us is None else change.appended_us


def effective_changes(ordered: Iterable[StatusChange]) -> Iterator[StatusChange]:
    """Those that change anything: no hourly repeats, and no `lost` of an epoch after another has connected.

    An epoch that ended by `handover` leaves the camera to the one that had connected before it, if there is one.
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
    """A word, and the time for which it is the one in force."""

    change: StatusChange
    from_us: int
    to_us: int


def effective_periods(ordered: Iterable[StatusChange], window: Interval) -> list[EffectivePeriod]:
    """Of `happenings`, those that touch the window, whole. They follow one another without a break; the last has no end."""
    deciding = list(effective_changes(ordered))
    edges = [*(word.effective_us for word in deciding), FOREVER]
    return [
        EffectivePeriod(word, from_us, to_us)
        for word, from_us, to_us in zip(deciding, edges, edges[1:], strict=False)
        if from_us < window[1] and window[0] < to_us
    ]


def interruptions(periods: Iterable[EffectivePeriod]) -> list[Interval]:
    """Where a `lost` is in force that says that pictures may be missing behind it."""
    return [(r.from_us, r.to_us) for r in periods if isinstance(r.change.event, Lost) and r.change.event.interrupted]


def attributions(periods: Sequence[EffectivePeriod]) -> list[Attribution]:
    """The cause by the event in force at each instant: from the beginning to the end of the last reign."""
    out = [Attribution(BEGINNING, periods[0].from_us if periods else FOREVER, "service_down")]
    for period in periods:
        event, until_us = period.change.event, period.from_us
        if not isinstance(event, Connected):
            until_us = min(max(period.from_us, _explains_until_us(event, period.change.reported_us)), period.to_us)
            out.append(Attribution(period.from_us, until_us, event.cause, event.detail))
        out.append(Attribution(until_us, period.to_us, "service_down"))
    return [attribution for attribution in out if attribution.from_us < attribution.to_us]


def _explains_until_us(event: Lost | Refused, reported_us: int) -> int:
    """Until when it explains the silence: its next try and half a minute."""
    retry_s = event.next_retry_s if 0 <= event.next_retry_s < 1e9 else 0.0  # it came as JSON: also NaN
    return reported_us + round(retry_s * 1e6) + RETRY_MARGIN_US


def shed_attributions(events: Iterable[LoggedEvent]) -> list[Attribution]:
    """What was dropped on purpose, disjoint and in order; where two lie over each other, the earlier start speaks."""
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
    """Merged intervals of `seq`s that existed and are not stored, and of those that may still lie in the log."""

    lost: list[Interval]
    unsettled: list[Interval]


@dataclass(frozen=True, slots=True)
class _EpochEnd:
    """An epoch's end as its `lost` events tell it."""

    last_seq: int
    end_us: int
    appended_us: int


@dataclass(frozen=True, slots=True)
class _StoredEnd:
    """How far an epoch is stored: its greatest `seq`, -1 for none, and where that ends."""

    seq: int
    end_us: int


def find_holes(segments: SegmentArray, events: Sequence[LoggedEvent], log_us: int) -> Holes:
    """The time of `seq`s that a later one, or a `lost`, proves to have existed.

    An epoch's beginning is known from its `connected`; without that its first stored `seq` begins it. A `lost`
    proves its `last_seq` once `log_us` has passed the moment at which the log took it: all before it is announced then.
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
    """One a `lost` epoch. Hourly repeats come to the log later: the first of them counts, so that no proof is taken back."""
    out: dict[str, _EpochEnd] = {}
    for one in events:
        if isinstance(one.event, Lost):
            appended_us = BEGINNING if one.appended_us is None else one.appended_us
            new = _EpochEnd(one.event.last_seq, one.event.end_us, appended_us)
            old = out.get(one.event.epoch, new)
            out[one.event.epoch] = _EpochEnd(
                max(old.last_seq, new.last_seq),
                max(old.end_us, new.end_us),
                min(old.appended_us, new.appended_us),
            )
    return out


def _holes_between_segments(
    segments: SegmentArray, beginnings: Mapping[str, int], reached: dict[str, _StoredEnd]
) -> list[Interval]:
    """Holes before a stored `seq`; writes into `reached` how far each epoch is stored."""
    if not len(segments):
        return []
    rows = segments.take(order_by_seq(segments))
    starts_epoch = np.ones(len(rows), dtype=bool)
    starts_epoch[1:] = (rows["epoch_hi"][1:] != rows["epoch_hi"][:-1]) | (rows["epoch_lo"][1:] != rows["epoch_lo"][:-1])
    far = _farthest(starts_epoch, rows["last_seq"])
    before = np.concatenate(([0], far[:-1]))  # the row that reached farthest before each; unused where an epoch starts
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
    """Row numbers in the order of epoch, then first `seq`; of copies that start alike the longest first."""
    return np.lexsort((-segments["last_seq"], segments["first_seq"], segments["epoch_lo"], segments["epoch_hi"]))


def _farthest(
    starts_epoch: NDArray[np.bool],
    last_seq: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For each row the one, up to it and in its epoch, with the greatest last `seq`: the first of equals."""
    rank = (np.cumsum(starts_epoch) << 33) + last_seq
    best = np.maximum.accumulate(rank)
    is_new = np.concatenate(([True], rank[1:] > best[:-1]))
    return np.maximum.accumulate(np.where(is_new, np.arange(len(rank)), 0))
