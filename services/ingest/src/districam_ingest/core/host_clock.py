"""A second opinion on this host's clock: the broker's append times in produce acks.

A record is appended between its sending and its acknowledgement. So each ack bounds by how much the host is ahead of
the broker: between (sent − append) and (acked − append). The narrowest bounds of the recent acks count, so that a slow
broker proves nothing.
"""

from collections import deque
from typing import Final

TOLERATED_US: Final = 1_000_000
RECENT: Final = 64
APPEND_GRAIN_US: Final = 1_000
"""Append times are cut off to the millisecond."""


class HostClock:
    """Our wall time = monotonic time + `offset_us`."""

    def __init__(self) -> None:
        # low and high: what the broker's wall clock minus our monotonic clock can be
        self._bounds: deque[tuple[int, int]] = deque(maxlen=RECENT)
        self._host_offset_us = 0
        self._correction_us = 0

    def host(self, now_us: int, monotonic_us: int) -> None:
        """The host's clocks now; to be called often enough for steps to be seen soon."""
        self._host_offset_us = now_us - monotonic_us
        self._judge()

    def acked(self, append_us: int, sent_us: int, acked_us: int) -> None:
        """One ack: the broker's append time, and our monotonic times of sending and receiving."""
        self._bounds.append((append_us - acked_us, append_us + APPEND_GRAIN_US - sent_us))
        self._judge()

    @property
    def offset_us(self) -> int:
        """To be added to monotonic time: the host's wall clock, or the broker's while the host's is off by over 1 s."""
        return self._host_offset_us + self._correction_us

    @property
    def skew_us(self) -> int:
        """By how much the host is surely ahead of the broker (negative: behind); 0 while the bounds allow 0."""
        if not self._bounds:
            return 0
        low, high = max(low for low, _ in self._bounds), min(high for _, high in self._bounds)
        if self._host_offset_us > high:
            return self._host_offset_us - high
        return min(0, self._host_offset_us - low)

    def _judge(self) -> None:
        skew_us = self.skew_us
        if abs(skew_us) > TOLERATED_US:
            self._correction_us = -skew_us
        elif self._correction_us:
            self._correction_us = 0
