"""One partition's fragments become segments. Closing is a function of the log, so a replay from any commit repeats it.

The one exception is idleness at the end of the log, where the recorder's own clock has to stand in.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

from districam_common.contract.media import Fragment, FragmentInfo

EndedBy = Literal["starts", "ends", "hole", "bytes", "time", "idle", "memory", "torn"]
"""Why a segment was closed; for the metric alone, since the object must not depend on it."""

FORGET_US = 3_600_000_000
"""An epoch's number of the next fragment is remembered through this much silence, so that late repeats are known."""
DURATION_LIMIT_US = 1 << 32
"""The index keeps a segment's length in 32 bits of microseconds."""


@dataclass(frozen=True, slots=True)
class First:
    """The first record that something not yet announced stands for.

    `truth_us` is the smaller of its append time and its fragment's start: how far the log is surely stored.
    """

    offset: int
    append_us: int
    truth_us: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A readable fragment where it lies in the log; `received_us` is monotonic."""

    offset: int
    append_us: int
    received_us: int
    fragment: Fragment


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive fragments of one epoch, ready to be stored as one object. `bytes` is what they hold in memory."""

    first: First
    fragments: tuple[Fragment, ...]
    bytes: int
    ended_by: EndedBy

    @property
    def epoch(self) -> str:
        return self.fragments[0].info.epoch

    @property
    def last_seq(self) -> int:
        return self.fragments[-1].info.seq


@dataclass(slots=True)
class _Open:
    first: First
    fragments: list[Fragment] = field(default_factory=list[Fragment])
    bytes: int = 0
    log_us: int = 0  # log time at the last fragment
    received_us: int = 0


@dataclass(slots=True)
class _Epoch:
    expected: int = 0
    init: bytes | None = None
    log_us: int = 0  # log time at the last record of it, repeats included
    end_us: int = 0  # of the last fragment that was taken
    is_ended: bool = False
    open: _Open | None = None


class Assembler:
    """One partition's open segments: one for each epoch, since two interleave while a camera changes hands.

    `done` gives the last announced `seq` of each epoch: fragments up to it are repeats.
    """

    def __init__(self, done: Mapping[str, int], *, idle_us: int, segment_max_bytes: int) -> None:
        # In the order of their last records, so that those to be forgotten stand in front.
        self._epochs = OrderedDict((epoch, _Epoch(expected=seq + 1)) for epoch, seq in done.items())
        self._open: dict[str, _Epoch] = {}  # a few, of however many epochs are remembered
        self._idle_us = idle_us
        self._segment_max_bytes = segment_max_bytes
        self._log_us = 0  # running maximum of append times
        self.open_bytes = 0
        self.repeats = 0

    def epochs(self) -> Iterable[str]:
        """Epochs of which more may come; those that ended only for as long as their last repeats may take."""
        return (
            name
            for name, epoch in self._epochs.items()
            if not epoch.is_ended or self._log_us - epoch.log_us <= self._idle_us
        )

    def earliest(self) -> First | None:
        """The first record of any open segment."""
        firsts = (epoch.open.first for epoch in self._open.values() if epoch.open)
        return min(firsts, key=lambda first: first.offset, default=None)

    @property
    def log_us(self) -> int:
        """Log time: the running maximum of append times; 0 before the first record."""
        return self._log_us

    def reaches_us(self, default_us: int) -> int:
        """Where the footage of the epoch ends that is furthest behind, of those that go on; `default_us` without any."""
        live = [
            epoch.end_us
            for epoch in self._epochs.values()
            if epoch.end_us and not epoch.is_ended and self._log_us - epoch.log_us <= self._idle_us
        ]
        return min(live, default=default_us)

    def objection(self, fragment: Fragment) -> str | None:
        """Why this fragment cannot be one of its epoch, as far as that was read; None if it can.

        Another init would spoil the object. What has an old `seq` and is not what came under it is no repeat.
        """
        epoch = self._epochs.get(fragment.info.epoch)
        if epoch is None:
            return None
        if fragment.info.seq < epoch.expected:
            return _differs(epoch, fragment)
        if epoch.init is None or epoch.init == fragment.init:
            return None
        return f"the init of fragment {fragment.info.seq} differs from its epoch's"

    def passes(self, append_us: int) -> list[Segment]:
        """Log time goes on to `append_us`: closes what it leaves idle. To be called with every record, also unreadable ones."""
        if not self._log_us:
            for epoch in self._epochs.values():  # known from a commit alone: their time starts now
                epoch.log_us = append_us
        self._log_us = max(self._log_us, append_us)
        self._forget()
        return self._close_idle(lambda held: self._log_us - held.log_us)

    def feed(self, arrival: Arrival) -> list[Segment]:
        """Takes a fragment without objection; `passes` has been called with its append time. Gives what closed, in order."""
        info = arrival.fragment.info
        epoch = self._epochs.setdefault(info.epoch, _Epoch())
        self._epochs.move_to_end(info.epoch)
        epoch.log_us = self._log_us
        if epoch.init is None:
            epoch.init = arrival.fragment.init
        if info.seq < epoch.expected:
            self.repeats += 1
            return []
        closed: list[Segment] = []
        if epoch.open is not None and (why := _ends_before(epoch.open, epoch.expected, info)):
            closed.append(self._close(epoch, epoch.open, why))
        held = self._add(epoch, arrival)
        if info.ends is not None:
            closed.append(self._close(epoch, held, "ends"))
        elif held.bytes >= self._segment_max_bytes:
            closed.append(self._close(epoch, held, "bytes"))
        return closed

    def idle_at_end(self, monotonic_us: int) -> list[Segment]:
        """Closes what has been idle for long at the end of the log, where only the recorder's own clock can tell."""
        return self._close_idle(lambda held: monotonic_us - held.received_us)

    def close_largest(self) -> list[Segment]:
        """Closes the largest open segment, for want of memory."""
        sizes = {name: epoch.open.bytes for name, epoch in self._open.items() if epoch.open}
        largest = self._open[max(sizes, key=sizes.__getitem__)] if sizes else None
        if largest is None or largest.open is None:
            return []
        return [self._close(largest, largest.open, "memory")]

    def close_all(self, why: EndedBy) -> list[Segment]:
        """Closes every open segment."""
        return [
            self._close(epoch, epoch.open, why)
            for epoch in list(self._open.values())
            if epoch.open is not None
        ]

    def _add(self, epoch: _Epoch, arrival: Arrival) -> _Open:
        info = arrival.fragment.info
        if epoch.open is None:
            truth_us = min(arrival.append_us, info.start_us)
            epoch.open = _Open(First(arrival.offset, arrival.append_us, truth_us))
            self._open[info.epoch] = epoch
        held, size = epoch.open, len(arrival.fragment.value)
        held.fragments.append(arrival.fragment)
        held.bytes += size
        self.open_bytes += size
        held.log_us, held.received_us = self._log_us, arrival.received_us
        epoch.expected, epoch.end_us = info.seq + 1, info.end_us
        epoch.is_ended = info.ends == "epoch"
        return held

    def _close(self, epoch: _Epoch, held: _Open, why: EndedBy) -> Segment:
        epoch.open = None
        del self._open[held.fragments[0].info.epoch]
        self.open_bytes -= held.bytes
        return Segment(held.first, tuple(held.fragments), held.bytes, why)

    def _close_idle(self, silence_us: Callable[[_Open], int]) -> list[Segment]:
        return [
            self._close(epoch, epoch.open, "idle")
            for epoch in list(self._open.values())
            if epoch.open is not None and silence_us(epoch.open) > self._idle_us
        ]

    def _forget(self) -> None:
        """Looks at those that are due alone: a camera that flaps makes thousands of epochs an hour."""
        due = takewhile(lambda item: self._log_us - item[1].log_us > FORGET_US, self._epochs.items())
        for name in [name for name, epoch in due if epoch.open is None]:
            del self._epochs[name]


def _differs(epoch: _Epoch, fragment: Fragment) -> str | None:
    """Why this is no repeat of a fragment that was taken, as far as that is still known.

    Only the open segment's fragments are: of those before, that they ended before the last one did.
    """
    info, held = fragment.info, epoch.open
    if epoch.end_us and info.duration_us and info.start_us >= epoch.end_us:
        return f"fragment {info.seq} is later than all of its epoch, and fragment {epoch.expected - 1} was taken before it"
    if held is None or info.seq < held.fragments[0].info.seq:
        return None
    taken = held.fragments[info.seq - held.fragments[0].info.seq]
    if taken.value == fragment.value:
        return None
    return f"another fragment {info.seq} of its epoch was taken before it, with other bytes"


def _ends_before(held: _Open, expected: int, info: FragmentInfo) -> EndedBy | None:
    """Why the open segment cannot go on with this fragment, if it cannot."""
    if info.starts_segment:
        return "starts"
    if info.seq > expected:
        return "hole"
    begun = held.fragments[0].info.start_us
    runs_backwards = info.start_us < held.fragments[-1].info.start_us
    if runs_backwards or info.end_us - begun >= DURATION_LIMIT_US:
        return "time"  # no key and no index entry could say such an interval
    return None
