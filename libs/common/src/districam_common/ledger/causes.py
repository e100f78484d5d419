"""Why a second is not stored: the evidence of stream events and of `seq`s that are missing (docs/design/contract.md, The ledger)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter, lt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from districam_common.contract.events import CameraEvent, Cause, Connected, Lost, Refused, Shed
from districam_common.contract.index import SegmentArray, epoch_text
from districam_common.ledger.intervals import Interval, merge

BEGINNING, FOREVER = -(1 << 62), 1 << 62
RETRY_MARGIN_US = 30_000_000
"""How long past the announced retry a `lost` or `refused` still explains the silence; then its service is gone."""

CLOCK_OFF_US = 1_000_000
"""A host's clock may be off by this much before the broker's acknowledgements end its epochs (contract.md, Our clock)."""

Happening = Connected | Lost | Refused


class Word(NamedTuple):
    """A `connected`, `lost` or `refused`, when it takes effect, and when the log took it (None: nobody knows)."""

    effect_us: int
    event: Happening
    appended_us: int | None

    @property
    def said_us(self) -> int:
        """When it was said: its `at_us`, unless the broker's clock proves that time to lie ahead."""
        return _no_later(self.event.at_us, self.appended_us)


def effect_us(event: Happening) -> int:
    """When it takes effect by the clock of who says it."""
    return event.end_us if isinstance(event, Lost) else event.at_us


def _no_later(at_us: int, appended_us: int | None) -> int:
    """`at_us`, if it is not proven to lie ahead of the broker's clock by more than a clock may be off."""
    return at_us if appended_us is None or at_us <= appended_us + CLOCK_OFF_US else appended_us


@dataclass(frozen=True, slots=True)
class Told:
    """A camera's event and when the log took it, by the broker's clock; None: nobody knows.

    It is known of `connected`, `lost` and `refused`. An hourly repeat of `connected` has none.
    """

    event: CameraEvent
    appended_us: int | None = None
    word: Word | None = field(init=False, repr=False, compare=False)
    """Of one that says how the stream is; made here, since an event is kept and asked for again and again."""

    def __post_init__(self) -> None:
        event, word = self.event, None
        if isinstance(event, Connected | Lost | Refused):
            word = Word(_no_later(effect_us(event), self.appended_us), event, self.appended_us)
        object.__setattr__(self, "word", word)


@dataclass(frozen=True, slots=True)
class Blame:
    """[from_us, to_us), if not stored, has this cause."""

    from_us: int
    to_us: int
    cause: Cause
    detail: str = ""


# ---- the event in force


def happenings(told: Iterable[Told]) -> list[Word]:
    """Connected, lost and refused in the order in which they take effect, whatever the order given.

    `lost` takes effect where its epoch ended, `connected` at the first access unit, `refused` when said. But nothing takes
    effect after the log took it, nor after what the same ingest said later: there the ingest's clock was ahead.
    """
    words = [one.word for one in told if one.word is not None]
    words.sort(key=itemgetter(0))
    if not _is_as_said(words):
        words = sorted(_as_said(words), key=itemgetter(0))
    effects = [word[0] for word in words]
    if all(map(lt, effects, effects[1:])):
        return words
    out: list[Word] = []
    for _, equals in groupby(words, key=itemgetter(0)):
        same = list(equals)
        out += (
            same if len(same) == 1 else sorted(same, key=_rank)
        )  # few are; to spell an event out takes long
    return out


def _is_as_said(words: Iterable[Word]) -> bool:
    """Whether each ingest's words take effect in the order in which the log took them."""
    newest_us: dict[str, int] = {}
    for _, event, appended_us in words:
        if appended_us is not None:
            if appended_us < newest_us.get(event.instance, appended_us):
                return False
            newest_us[event.instance] = appended_us
    return True


def _as_said(words: Iterable[Word]) -> Iterator[Word]:
    """The words, none with effect after what the same ingest said later: one ingest's words are in the log in their order."""
    reached_us: dict[str, int] = {}
    for at_us, event, appended_us in sorted(words, key=_rank_in_log, reverse=True):
        effect = at_us
        if appended_us is not None:
            effect = min(at_us, reached_us.get(event.instance, at_us))
            reached_us[event.instance] = effect
        yield Word(effect, event, appended_us)


def _rank_in_log(word: Word) -> tuple[int, int, bool]:
    return _place(word), word.effect_us, not isinstance(word.event, Lost)


def _rank(word: Word) -> tuple[int, bool, str]:
    """Of words that take effect at one instant: as the log has them; `lost` first where it cannot tell."""
    return _place(word), not isinstance(word.event, Lost), repr(word.event)


def _place(word: Word) -> int:
    return FOREVER if word.appended_us is None else word.appended_us


def in_force(ordered: Iterable[Word]) -> Iterator[Word]:
    """Those that change anything: no hourly repeats, and no `lost` of an epoch after another has connected.

    An epoch that ended by `handover` leaves the camera to the one that had connected before it, if there is one.
    """
    holders, connected = list[str](), set[str]()
    for word in ordered:
        event = word.event
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
        yield word


@dataclass(frozen=True, slots=True)
class Reign:
    """A word, and the time for which it is the one in force."""

    word: Word
    from_us: int
    to_us: int


def reigns(ordered: Iterable[Word], window: Interval) -> list[Reign]:
    """Of `happenings`, those that touch the window, whole. They follow one another without a break; the last has no end."""
    deciding = list(in_force(ordered))
    edges = [*(word.effect_us for word in deciding), FOREVER]
    return [
        Reign(word, from_us, to_us)
        for word, from_us, to_us in zip(deciding, edges, edges[1:], strict=False)
        if from_us < window[1] and window[0] < to_us
    ]


def interruptions(reigns: Iterable[Reign]) -> list[Interval]:
    """Where a `lost` is in force that says that pictures may be missing behind it."""
    return [
        (r.from_us, r.to_us) for r in reigns if isinstance(r.word.event, Lost) and r.word.event.interrupted
    ]


def blamed(reigns: Sequence[Reign]) -> list[Blame]:
    """The cause by the event in force at each instant: from the beginning to the end of the last reign."""
    out = [Blame(BEGINNING, reigns[0].from_us if reigns else FOREVER, "service_down")]
    for reign in reigns:
        event, until_us = reign.word.event, reign.from_us
        if not isinstance(event, Connected):
            until_us = min(max(reign.from_us, _explains_until_us(event, reign.word.said_us)), reign.to_us)
            out.append(Blame(reign.from_us, until_us, event.cause, event.detail))
        out.append(Blame(until_us, reign.to_us, "service_down"))
    return [blame for blame in out if blame.from_us < blame.to_us]


def _explains_until_us(event: Lost | Refused, said_us: int) -> int:
    """Until when it explains the silence: its next try and half a minute."""
    retry_s = event.next_retry_s if 0 <= event.next_retry_s < 1e9 else 0.0  # it came as JSON: also NaN
    return said_us + round(retry_s * 1e6) + RETRY_MARGIN_US


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
