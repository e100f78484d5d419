"""A second opinion on this host's clock: the brokers' append times in produce acks.

A record is appended between its sending and its acknowledgement. So each ack bounds by how much the host is ahead of
the broker: between (sent − append) and (acked − append). Of each broker the narrowest bounds of its recent acks count, so
that a slow broker proves nothing; and of several brokers the median of what each proves, so that no single one with a
wrong clock decides.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

TOLERATED_US: Final = 1_000_000
RECENT: Final = 64
APPEND_GRAIN_US: Final = 1_000
"""Append times are cut off to the millisecond."""
GONE_US: Final = 600_000_000
"""A broker that has not answered for so long, while others have, is counted no more."""

Bounds = tuple[int, int]
"""What a broker's wall clock minus our monotonic clock can be: least and most."""


class _Window:
    """The recent acks of one broker. Its bounds never contradict one another."""

    def __init__(self, heard_us: int) -> None:
        self.heard_us = heard_us
        self.bounds: Bounds | None = None
        self._acks: deque[Bounds] = deque(maxlen=RECENT)
        self._doubt: Bounds | None = None

    def take(self, ack: Bounds) -> None:
        """An ack that contradicts those before it says that a clock has moved, once the next one says so too.

        A single one may be another broker's: that of the leader before this one, who answers for it.
        """
        if self.bounds is None or _meet(ack, self.bounds):
            self._doubt = None
        elif self._doubt is None or not _meet(ack, self._doubt):
            self._doubt = ack
            return
        else:
            self._acks.clear()
            self._acks.append(self._doubt)
            self._doubt = None
        self._acks.append(ack)
        self.bounds = max(low for low, _ in self._acks), min(high for _, high in self._acks)

    @property
    def is_disputed(self) -> bool:
        """Whether the last ack contradicts those before it."""
        return self._doubt is not None

    def forget(self) -> None:
        """What was heard proves nothing any more."""
        self._acks.clear()
        self.bounds = self._doubt = None


class HostClock:
    """Our wall time = monotonic time + `offset_us`."""

    def __init__(self) -> None:
        self._windows: dict[int, _Window] = {}
        self._host_offset_us: int | None = None
        self._correction_us = 0
        self._leapt_us: int | None = None  # acks of what was sent before prove nothing

    def host(self, now_us: int, monotonic_us: int) -> None:
        """The host's clocks now; to be called often enough for steps to be seen soon.

        A wall clock that leaps ahead of all that was proven may be right: so it looks where a machine was paused, its
        monotonic clock with it. Only what is sent from then on tells. One that leaps back is wrong.
        """
        before_us, was_proven = self._host_offset_us, self.skew_us > TOLERATED_US
        self._host_offset_us = now_us - monotonic_us
        leap_us = 0 if before_us is None else self._host_offset_us - before_us
        if self.skew_us > TOLERATED_US and leap_us > (TOLERATED_US if was_proven else 0):
            self._leapt_us = monotonic_us
            for window in self._windows.values():
                window.forget()
        self._judge()

    def expects(self, brokers: Iterable[int], monotonic_us: int) -> None:
        """These brokers lead partitions: until one has answered, it counts for one that proves nothing."""
        for broker in brokers:
            self._windows.setdefault(broker, _Window(monotonic_us)).heard_us = monotonic_us
        self._judge()

    def acked(self, append_us: int, sent_us: int, acked_us: int, broker: int = 0) -> None:
        """One ack: the broker's append time, and our monotonic times of sending and receiving."""
        if self._leapt_us is not None and sent_us < self._leapt_us:
            return
        window = self._windows.setdefault(broker, _Window(acked_us))
        window.heard_us = acked_us
        window.take((append_us - acked_us, append_us + APPEND_GRAIN_US - sent_us))
        for gone in [b for b, one in self._windows.items() if acked_us - one.heard_us > GONE_US]:
            del self._windows[gone]
        if not self._awaits_most:
            self._leapt_us = None
        self._judge()

    @property
    def in_doubt(self) -> bool:
        """Whether the host's clock has leapt ahead, and it is not known yet whether it was right to."""
        return self._leapt_us is not None

    @property
    def wants_acks(self) -> bool:
        """Whether the next ack of some broker may change what is known."""
        return self.in_doubt or any(window.is_disputed for window in self._windows.values())

    @property
    def offset_us(self) -> int:
        """To be added to monotonic time: the host's wall clock, or the brokers' while the host's is off by over 1 s."""
        return (self._host_offset_us or 0) + self._correction_us

    @property
    def skew_us(self) -> int:
        """By how much the host is surely ahead of the brokers (negative: behind); 0 while the bounds allow 0.

        The median of what each broker proves; where their count is even, of the two in the middle the one nearer to 0: what
        more than half of them prove.
        """
        proven = sorted(self._proven_us(window.bounds) for window in self._windows.values())
        if not proven:
            return 0
        return max(0, proven[(len(proven) - 1) // 2]) or min(0, proven[len(proven) // 2])

    def apart_us(self) -> dict[int, int]:
        """By how much each broker's clock is surely ahead of our time (negative: behind); 0 where its bounds allow that."""
        out: dict[int, int] = {}
        for broker, window in self._windows.items():
            if window.bounds is not None:
                low, high = window.bounds
                out[broker] = max(0, low - self.offset_us) or min(0, high - self.offset_us)
        return out

    @property
    def _awaits_most(self) -> bool:
        answered = sum(window.bounds is not None for window in self._windows.values())
        return 2 * answered <= len(self._windows)

    def _proven_us(self, bounds: Bounds | None) -> int:
        if bounds is None:
            return 0
        low, high = bounds
        offset_us = self._host_offset_us or 0
        return max(0, offset_us - high) or min(0, offset_us - low)

    def _judge(self) -> None:
        skew_us = self.skew_us
        self._correction_us = -skew_us if abs(skew_us) > TOLERATED_US else 0


def _meet(a: Bounds, b: Bounds) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]
