"""Why a second is not stored: the evidence of stream events and of `seq`s that are missing (docs/design/contract.md, The ledger)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from districam_common.events import CameraEvent, Cause, Connected, Lost, Refused, Shed
from districam_common.index import SegmentArray, epoch_text
from districam_common.intervals import Interval, merge

BEGINNING, FOREVER = -(1 << 62), 1 << 62
RETRY_MARGIN_US = 30_000_000
"""How long past the announced retry a `lost` or `refused` still explains the silence; then its service is gone."""

Happening = Connected | Lost | Refused


@dataclass(frozen=True, slots=True)
class Told:
    """A camera's event and when the log took it; None: long ago. Only of `lost` it matters."""

    event: CameraEvent
    appended_us: int | None = None


@dataclass(frozen=True, slots=True)
class Blame:
    """[from_us, to_us), if not stored, has this cause."""

    from_us: int
    to_us: int
    cause: Cause
    detail: str = ""


# ---- the event in force


def happenings(told: Iterable[Told]) -> list[Happening]:
    """Connected, lost and refused in the order in which they take effect, whatever the order given."""
    events = (t.event for t in told)
    ranked = [(_rank(event), event) for event in events if isinstance(event, Connected | Lost | Refused)]
    ranked.sort(key=itemgetter(0))
    out: list[Happening] = []
    for _, equals in groupby(ranked, key=itemgetter(0)):
        same = [event for _, event in equals]
        out += same if len(same) == 1 else sorted(same, key=repr)  # few are; to spell an event out takes long
    return out


def _rank(event: Happening) -> tuple[int, bool]:
    return effect_us(event), not isinstance(event, Lost)


def effect_us(event: Happening) -> int:
    """`lost` takes effect where its epoch ended, `connected` at the first access unit (its `at_us`), `refused` when said."""
    return event.end_us if isinstance(event, Lost) else event.at_us


def in_force(ordered: Iterable[Happening]) -> Iterator[Happening]:
    """Those that change anything: no hourly repeats, and no `lost` of an epoch after another has connected."""
    epoch, connected = "", set[str]()
    for event in ordered:
        if isinstance(event, Lost) and epoch not in ("", event.epoch):
            continue
        if isinstance(event, Connected):
            if event.epoch in connected:
                continue
            epoch = event.epoch
            connected.add(epoch)
        yield event


@dataclass(frozen=True, slots=True)
class Reign:
    """An event, and the time for which it is the one in force."""

    event: Happening
    from_us: int
    to_us: int


def reigns(ordered: Iterable[Happening], window: Interval) -> list[Reign]:
    """Of `happenings`, those that touch the window, whole. They follow one another without a break; the last has no end."""
    deciding = list(in_force(ordered))
    edges = [*map(effect_us, deciding), FOREVER]
    return [
        Reign(event, from_us, to_us)
        for event, from_us, to_us in zip(deciding, edges, edges[1:], strict=False)
        if from_us < window[1] and window[0] < to_us
    ]


def interruptions(reigns: Iterable[Reign]) -> list[Interval]:
    """Where a `lost` is in force that says that pictures may be missing behind it."""
    return [(r.from_us, r.to_us) for r in reigns if isinstance(r.event, Lost) and r.event.interrupted]


def blamed(reigns: Sequence[Reign]) -> list[Blame]:
    """The cause by the event in force at each instant: from the beginning to the end of the last reign."""
    out = [Blame(BEGINNING, reigns[0].from_us if reigns else FOREVER, "service_down")]
    for reign in reigns:
        event, until_us = reign.event, reign.from_us
        if not isinstance(event, Connected):
            until_us = min(max(reign.from_us, _explains_until_us(event)), reign.to_us)
            out.append(Blame(reign.from_us, until_us, event.cause, event.detail))
        out.append(Blame(until_us, reign.to_us, "service_down"))
    return [blame for blame in out if blame.from_us < blame.to_us]


def _explains_until_us(event: Lost | Refused) -> int:
    retry_s = event.next_retry_s if 0 <= event.next_retry_s < 1e9 else 0.0  # it came as JSON: also NaN
    return event.at_us + round(retry_s * 1e6) + RETRY_MARGIN_US


def shed(told: Iterable[Told]) -> list[Blame]:
    """What was dropped on purpose, disjoint and in order; where two lie over each other, the earlier start speaks."""
    found = [t.event for t in told if isinstance(t.event, Shed)]
    out: list[Blame] = []
    reach_us = BEGINNING
    for event in sorted(found, key=lambda e: (e.start_us, e.end_us, e.cause)):
        if event.end_us > max(reach_us, event.start_us):
            out.append(Blame(max(reach_us, event.start_us), event.end_us, event.cause))
            reach_us = event.end_us
    return out


# ---- missing seqs


@dataclass(frozen=True, slots=True)
class Missing:
    """Merged intervals of `seq`s that existed and are not stored, and of those that may still lie in the log."""

    lost: list[Interval]
    unsettled: list[Interval]


@dataclass(frozen=True, slots=True)
class _Ending:
    """An epoch's end as its `lost` events tell it."""

    last_seq: int
    end_us: int
    appended_us: int


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far an epoch is stored: its greatest `seq`, -1 for none, and where that ends."""

    seq: int
    end_us: int


def missing(segments: SegmentArray, told: Sequence[Told], log_us: int) -> Missing:
    """The time of `seq`s that a later one, or a `lost`, proves to have existed.

    An epoch's beginning is known from its `connected`; without that its first stored `seq` begins it. A `lost`
    proves its `last_seq` once `log_us` has passed the moment at which the log took it: all before it is announced then.
    """
    beginnings = _beginnings(told)
    reached = {epoch: _Reach(-1, at_us) for epoch, at_us in beginnings.items()}
    lost = _holes(segments, beginnings, reached)
    unsettled: list[Interval] = []
    for epoch, ending in _endings(told).items():
        reach = reached.get(epoch)
        if reach is not None and ending.last_seq > reach.seq:
            settled = ending.appended_us < log_us
            (lost if settled else unsettled).append((reach.end_us, ending.end_us))
    return Missing(merge(lost), merge(unsettled))


def _beginnings(told: Iterable[Told]) -> dict[str, int]:
    out: dict[str, int] = {}
    for event in (t.event for t in told):
        if isinstance(event, Connected):
            out[event.epoch] = min(event.at_us, out.get(event.epoch, event.at_us))
    return out


def _endings(told: Iterable[Told]) -> dict[str, _Ending]:
    """One a `lost` epoch. Hourly repeats come to the log later: the first of them counts, so that no proof is taken back."""
    out: dict[str, _Ending] = {}
    for one in told:
        if isinstance(one.event, Lost):
            appended_us = BEGINNING if one.appended_us is None else one.appended_us
            new = _Ending(one.event.last_seq, one.event.end_us, appended_us)
            old = out.get(one.event.epoch, new)
            out[one.event.epoch] = _Ending(
                max(old.last_seq, new.last_seq),
                max(old.end_us, new.end_us),
                min(old.appended_us, new.appended_us),
            )
    return out


def _holes(
    segments: SegmentArray, beginnings: Mapping[str, int], reached: dict[str, _Reach]
) -> list[Interval]:
    """Holes before a stored `seq`; writes into `reached` how far each epoch is stored."""
    if not len(segments):
        return []
    rows = segments.take(by_seq(segments))
    starts_epoch = np.ones(len(rows), dtype=bool)
    starts_epoch[1:] = (rows["epoch_hi"][1:] != rows["epoch_hi"][:-1]) | (
        rows["epoch_lo"][1:] != rows["epoch_lo"][:-1]
    )
    far = _farthest(starts_epoch, rows["last_seq"])
    before = np.concatenate(
        ([0], far[:-1])
    )  # the row that reached farthest before each; unused where an epoch starts
    inner = np.flatnonzero(~starts_epoch & (rows["first_seq"] > rows["last_seq"][before] + 1))
    ends_us, starts_us = rows["end_us"][before[inner]].tolist(), rows["start_us"][inner].tolist()
    out: list[Interval] = list(zip(ends_us, starts_us, strict=True))

    heads = np.flatnonzero(starts_epoch)
    tails = far[np.concatenate((heads[1:] - 1, [len(rows) - 1]))]
    for head, tail in zip(rows[heads].tolist(), rows[tails].tolist(), strict=True):
        epoch = epoch_text(head[0], head[1])
        if head[2] > 0 and epoch in beginnings:
            out.append((beginnings[epoch], head[4]))
        reached[epoch] = _Reach(tail[3], tail[5])
    return out


def by_seq(segments: SegmentArray) -> NDArray[np.intp]:
    """Row numbers in the order of epoch, then first `seq`; of copies that start alike the longest first."""
    return np.lexsort(
        (-segments["last_seq"], segments["first_seq"], segments["epoch_lo"], segments["epoch_hi"])
    )


def _farthest(
    starts_epoch: NDArray[np.bool],
    last_seq: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For each row the one, up to it and in its epoch, with the greatest last `seq`: the first of equals."""
    rank = (np.cumsum(starts_epoch) << 33) + last_seq
    best = np.maximum.accumulate(rank)
    is_new = np.concatenate(([True], rank[1:] > best[:-1]))
    return np.maximum.accumulate(np.where(is_new, np.arange(len(rank)), 0))
