"""Assembles a partition's fragments into segments.

Closing is a function of the log, so a replay from any commit gives the same segments. The one exception is
idleness at the end of the log, which is measured by the recorder's own clock.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

from districam_common.contract.media import Fragment, FragmentInfo

CloseReason = Literal["starts", "ends", "hole", "bytes", "time", "idle", "memory", "torn"]
"""Why a segment was closed. For the metric only: the object must not depend on it."""

EPOCH_TTL_US = 3_600_000_000
"""How long (log time) a silent epoch's next `seq` is remembered, so that late duplicates are recognised."""
DURATION_LIMIT_US = 1 << 32
"""Limit on a segment's duration: the index has 32 bits of microseconds for it."""


@dataclass(frozen=True, slots=True)
class FirstRecord:
    """The first record of an open segment or pending effect.

    `watermark_us`, the smaller of its append time and its fragment's start: the log is stored up to there.
    """

    offset: int
    append_us: int
    watermark_us: int


@dataclass(frozen=True, slots=True)
class ReceivedFragment:
    """A fragment with its offset and append time (broker clock); `received_us` is monotonic."""

    offset: int
    append_us: int
    received_us: int
    fragment: Fragment


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive fragments of one epoch, to be stored as one object. `bytes`: their size in memory."""

    first: FirstRecord
    fragments: tuple[Fragment, ...]
    bytes: int
    close_reason: CloseReason

    @property
    def epoch(self) -> str:
        return self.fragments[0].info.epoch

    @property
    def last_seq(self) -> int:
        return self.fragments[-1].info.seq


@dataclass(slots=True)
class _OpenSegment:
    first: FirstRecord
    fragments: list[Fragment] = field(default_factory=list[Fragment])
    bytes: int = 0
    last_append_us: int = 0  # log time at the last fragment
    received_us: int = 0


@dataclass(slots=True)
class _EpochState:
    next_seq: int = 0
    init: bytes | None = None
    last_append_us: int = 0  # log time at its last record, duplicates included
    end_us: int = 0  # of the last fragment that is not a duplicate
    is_ended: bool = False
    open_segment: _OpenSegment | None = None


class Assembler:
    """One partition's open segments: one for each epoch, since two epochs interleave during a handover.

    `last_seqs` gives the last announced `seq` of each epoch: fragments up to it are duplicates.
    """

    def __init__(self, last_seqs: Mapping[str, int], *, idle_us: int, segment_max_bytes: int) -> None:
        # In the order of their last records, so that stale epochs come first.
        self._epochs = OrderedDict((epoch, _EpochState(next_seq=seq + 1)) for epoch, seq in last_seqs.items())
        self._open_epochs: dict[str, _EpochState] = {}  # those with an open segment: few of the remembered ones
        self._idle_us = idle_us
        self._segment_max_bytes = segment_max_bytes
        self._max_append_us = 0  # running maximum of append times
        self.open_bytes = 0
        self.duplicates = 0

    def active_epochs(self) -> Iterable[str]:
        """Epochs of which fragments may still come: an ended one for `idle_us`, because of duplicates."""
        return (
            name
            for name, epoch in self._epochs.items()
            if not epoch.is_ended or self._max_append_us - epoch.last_append_us <= self._idle_us
        )

    def first_open_record(self) -> FirstRecord | None:
        """The open segments' first record with the lowest offset; None without an open segment."""
        firsts = (epoch.open_segment.first for epoch in self._open_epochs.values() if epoch.open_segment)
        return min(firsts, key=lambda first: first.offset, default=None)

    @property
    def max_append_us(self) -> int:
        """Log time: the running maximum of append times; 0 before the first record."""
        return self._max_append_us

    def earliest_end_us(self, default_us: int) -> int:
        """The earliest footage end among active, unended epochs; `default_us` if there is none."""
        live = [
            epoch.end_us
            for epoch in self._epochs.values()
            if epoch.end_us and not epoch.is_ended and self._max_append_us - epoch.last_append_us <= self._idle_us
        ]
        return min(live, default=default_us)

    def conflict(self, fragment: Fragment) -> str | None:
        """Why this fragment contradicts its epoch as read so far; None if it does not.

        Either its init differs from the epoch's, or its `seq` was used by another fragment.
        """
        epoch = self._epochs.get(fragment.info.epoch)
        if epoch is None:
            return None
        if fragment.info.seq < epoch.next_seq:
            return _duplicate_conflict(epoch, fragment)
        if epoch.init is None or epoch.init == fragment.init:
            return None
        return f"the init of fragment {fragment.info.seq} differs from its epoch's"

    def advance_time(self, append_us: int) -> list[Segment]:
        """Advances log time to `append_us`, with every record; returns the segments closed as idle."""
        if not self._max_append_us:
            for epoch in self._epochs.values():  # restored from a checkpoint, without a time: it starts here
                epoch.last_append_us = append_us
        self._max_append_us = max(self._max_append_us, append_us)
        self._discard_stale_epochs()
        return self._close_idle(lambda held: self._max_append_us - held.last_append_us)

    def feed(self, received: ReceivedFragment) -> list[Segment]:
        """Adds a fragment; returns the segments that it closes, in order.

        Call `advance_time` with its append time before, and only if `conflict` returns None.
        """
        info = received.fragment.info
        epoch = self._epochs.setdefault(info.epoch, _EpochState())
        self._epochs.move_to_end(info.epoch)
        epoch.last_append_us = self._max_append_us
        if epoch.init is None:
            epoch.init = received.fragment.init
        if info.seq < epoch.next_seq:
            self.duplicates += 1
            return []
        closed: list[Segment] = []
        if epoch.open_segment is not None and (
            reason := _close_reason_before(epoch.open_segment, epoch.next_seq, info)
        ):
            closed.append(self._close(epoch, epoch.open_segment, reason))
        open_segment = self._add(epoch, received)
        if info.ends is not None:
            closed.append(self._close(epoch, open_segment, "ends"))
        elif open_segment.bytes >= self._segment_max_bytes:
            closed.append(self._close(epoch, open_segment, "bytes"))
        return closed

    def close_idle_at_end(self, monotonic_us: int) -> list[Segment]:
        """Closes segments that are idle at the end of the log, by the recorder's own clock."""
        return self._close_idle(lambda held: monotonic_us - held.received_us)

    def close_largest(self) -> list[Segment]:
        """Closes the largest open segment to free memory."""
        sizes = {name: epoch.open_segment.bytes for name, epoch in self._open_epochs.items() if epoch.open_segment}
        largest = self._open_epochs[max(sizes, key=sizes.__getitem__)] if sizes else None
        if largest is None or largest.open_segment is None:
            return []
        return [self._close(largest, largest.open_segment, "memory")]

    def close_all(self, reason: CloseReason) -> list[Segment]:
        """Closes every open segment."""
        return [
            self._close(epoch, epoch.open_segment, reason)
            for epoch in list(self._open_epochs.values())
            if epoch.open_segment is not None
        ]

    def _add(self, epoch: _EpochState, received: ReceivedFragment) -> _OpenSegment:
        info = received.fragment.info
        if epoch.open_segment is None:
            watermark_us = min(received.append_us, info.start_us)
            epoch.open_segment = _OpenSegment(FirstRecord(received.offset, received.append_us, watermark_us))
            self._open_epochs[info.epoch] = epoch
        open_segment, size = epoch.open_segment, len(received.fragment.value)
        open_segment.fragments.append(received.fragment)
        open_segment.bytes += size
        self.open_bytes += size
        open_segment.last_append_us, open_segment.received_us = self._max_append_us, received.received_us
        epoch.next_seq, epoch.end_us = info.seq + 1, info.end_us
        epoch.is_ended = info.ends == "epoch"
        return open_segment

    def _close(self, epoch: _EpochState, open_segment: _OpenSegment, reason: CloseReason) -> Segment:
        epoch.open_segment = None
        del self._open_epochs[open_segment.fragments[0].info.epoch]
        self.open_bytes -= open_segment.bytes
        return Segment(open_segment.first, tuple(open_segment.fragments), open_segment.bytes, reason)

    def _close_idle(self, idle_for_us: Callable[[_OpenSegment], int]) -> list[Segment]:
        return [
            self._close(epoch, epoch.open_segment, "idle")
            for epoch in list(self._open_epochs.values())
            if epoch.open_segment is not None and idle_for_us(epoch.open_segment) > self._idle_us
        ]

    def _discard_stale_epochs(self) -> None:
        """Visits only the stale epochs: a flapping camera makes thousands of epochs an hour."""
        stale = takewhile(
            lambda item: self._max_append_us - item[1].last_append_us > EPOCH_TTL_US, self._epochs.items()
        )
        for name in [name for name, epoch in stale if epoch.open_segment is None]:
            del self._epochs[name]


def _duplicate_conflict(epoch: _EpochState, fragment: Fragment) -> str | None:
    """Why a fragment with a used `seq` is not a duplicate; None if it is, or if that can no longer be told.

    Bytes are compared with the open segment's fragments only; earlier ones must end by the epoch's end.
    """
    info, open_segment = fragment.info, epoch.open_segment
    if epoch.end_us and info.duration_us and info.start_us >= epoch.end_us:
        return (
            f"fragment {info.seq} is later than all of its epoch, but fragment {epoch.next_seq - 1} was received before"
        )
    if open_segment is None or info.seq < open_segment.fragments[0].info.seq:
        return None
    previous = open_segment.fragments[info.seq - open_segment.fragments[0].info.seq]
    if previous.value == fragment.value:
        return None
    return f"another fragment {info.seq} of its epoch, with other bytes, was received before"


def _close_reason_before(open_segment: _OpenSegment, next_seq: int, info: FragmentInfo) -> CloseReason | None:
    """The reason to close the open segment before this fragment; None if the fragment belongs to it."""
    if info.starts_segment:
        return "starts"
    if info.seq > next_seq:
        return "hole"
    segment_start_us = open_segment.fragments[0].info.start_us
    is_backwards = info.start_us < open_segment.fragments[-1].info.start_us
    if is_backwards or info.end_us - segment_start_us >= DURATION_LIMIT_US:
        return "time"  # neither an object key nor an index entry can express such an interval
    return None
