"""Checks this host's clock against the brokers' append times in produce acks.

A record is appended between its sending and its ack. So each ack bounds how far the host is ahead of the
broker: between (sent − append) and (acked − append). For each broker the bounds of its recent acks are
intersected, so that a slow broker proves nothing. Over several brokers the median of the proven skews counts,
so that no single wrong clock decides.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

MAX_SKEW_US: Final = 1_000_000
MAX_RECENT_ACKS: Final = 64
APPEND_RESOLUTION_US: Final = 1_000
"""Append times are truncated to milliseconds."""
BROKER_EXPIRY_US: Final = 600_000_000
"""A broker without an ack for this long, while others have some, is forgotten."""

Bounds = tuple[int, int]
"""Minimum and maximum of a broker's wall clock minus our monotonic clock, µs."""


class _BrokerWindow:
    """The recent acks of one broker; the bounds of all of them overlap."""

    def __init__(self, last_seen_us: int) -> None:
        self.last_seen_us = last_seen_us
        self.bounds: Bounds | None = None
        self._acks: deque[Bounds] = deque(maxlen=MAX_RECENT_ACKS)
        self._conflicting_ack: Bounds | None = None

    def feed(self, ack: Bounds) -> None:
        """Adds an ack. Two in a row that contradict the earlier ones mean that a clock stepped, and replace them.

        A single one may come from another broker: from the partition's previous leader.
        """
        if self.bounds is None or _overlap(ack, self.bounds):
            self._conflicting_ack = None
        elif self._conflicting_ack is None or not _overlap(ack, self._conflicting_ack):
            self._conflicting_ack = ack
            return
        else:
            self._acks.clear()
            self._acks.append(self._conflicting_ack)
            self._conflicting_ack = None
        self._acks.append(ack)
        self.bounds = max(low for low, _ in self._acks), min(high for _, high in self._acks)

    @property
    def has_conflict(self) -> bool:
        """Whether the last ack contradicts the earlier ones."""
        return self._conflicting_ack is not None

    def discard(self) -> None:
        """Forgets all acks: they prove nothing after a step of the host's clock."""
        self._acks.clear()
        self.bounds = self._conflicting_ack = None


class HostClock:
    """This host's wall clock, corrected by the brokers': wall time = monotonic time + `offset_us`."""

    def __init__(self) -> None:
        self._windows: dict[int, _BrokerWindow] = {}
        self._host_offset_us: int | None = None
        self._correction_us = 0
        self._stepped_us: int | None = None  # acks of records sent before this prove nothing

    def feed_host_time(self, now_us: int, monotonic_us: int) -> None:
        """Takes the host's wall and monotonic clock; call it often, so that steps are noticed soon.

        A step ahead beyond the proven skew may be right: a paused machine stops its monotonic clock too. Only
        acks of records sent from then on can tell. A step back is wrong.
        """
        before_us, was_proven = self._host_offset_us, self.skew_us > MAX_SKEW_US
        self._host_offset_us = now_us - monotonic_us
        step_us = 0 if before_us is None else self._host_offset_us - before_us
        if self.skew_us > MAX_SKEW_US and step_us > (MAX_SKEW_US if was_proven else 0):
            self._stepped_us = monotonic_us
            for window in self._windows.values():
                window.discard()
        self._update_correction()

    def expect_brokers(self, brokers: Iterable[int], monotonic_us: int) -> None:
        """Adds brokers that lead partitions; until its first ack, each counts as one that proves no skew."""
        for broker in brokers:
            self._windows.setdefault(broker, _BrokerWindow(monotonic_us)).last_seen_us = monotonic_us
        self._update_correction()

    def feed_ack(self, append_us: int, sent_us: int, acked_us: int, broker: int = 0) -> None:
        """Takes an ack: the append time (µs UTC), and when the record was sent and acked (µs monotonic)."""
        if self._stepped_us is not None and sent_us < self._stepped_us:
            return
        window = self._windows.setdefault(broker, _BrokerWindow(acked_us))
        window.last_seen_us = acked_us
        window.feed((append_us - acked_us, append_us + APPEND_RESOLUTION_US - sent_us))
        for gone in [b for b, one in self._windows.items() if acked_us - one.last_seen_us > BROKER_EXPIRY_US]:
            del self._windows[gone]
        if not self._is_awaiting_majority:
            self._stepped_us = None
        self._update_correction()

    @property
    def is_uncertain(self) -> bool:
        """Whether the host's clock has stepped ahead, and too few acks since tell whether it is right."""
        return self._stepped_us is not None

    @property
    def needs_acks(self) -> bool:
        """Whether further acks are needed soon: after a step of the host's clock or of a broker's."""
        return self.is_uncertain or any(window.has_conflict for window in self._windows.values())

    @property
    def offset_us(self) -> int:
        """Wall minus monotonic time: the host's, or the brokers' while the proven skew exceeds `MAX_SKEW_US`."""
        return (self._host_offset_us or 0) + self._correction_us

    @property
    def skew_us(self) -> int:
        """Proven skew of the host against the brokers (negative: behind); 0 while the bounds include 0.

        The median of what each broker proves; with an even number of brokers the middle value nearer to 0,
        which more than half of them prove.
        """
        proven = sorted(self._proven_skew_us(window.bounds) for window in self._windows.values())
        if not proven:
            return 0
        return max(0, proven[(len(proven) - 1) // 2]) or min(0, proven[len(proven) // 2])

    def broker_skews_us(self) -> dict[int, int]:
        """Proven skew of each broker against our time (negative: behind); 0 while its bounds include 0."""
        out: dict[int, int] = {}
        for broker, window in self._windows.items():
            if window.bounds is not None:
                low, high = window.bounds
                out[broker] = max(0, low - self.offset_us) or min(0, high - self.offset_us)
        return out

    @property
    def _is_awaiting_majority(self) -> bool:
        answered = sum(window.bounds is not None for window in self._windows.values())
        return 2 * answered <= len(self._windows)

    def _proven_skew_us(self, bounds: Bounds | None) -> int:
        if bounds is None:
            return 0
        low, high = bounds
        offset_us = self._host_offset_us or 0
        return max(0, offset_us - high) or min(0, offset_us - low)

    def _update_correction(self) -> None:
        skew_us = self.skew_us
        self._correction_us = -skew_us if abs(skew_us) > MAX_SKEW_US else 0


def _overlap(a: Bounds, b: Bounds) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]
