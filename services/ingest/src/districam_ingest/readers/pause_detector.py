"""Decides when a reader that cannot ask whether more data have arrived may pause.

After a packet that came on time nothing is waiting. What arrives during the pause stays in the socket and is
read at once. After a late packet more may be waiting; without a pause then, no backlog grows.
"""

ON_TIME_US = 40_000
WINDOW_US = 10_000_000


class PauseDetector:
    """Compares the packets' times of arrival on one connection with their media time."""

    def __init__(self) -> None:
        self._min_delay_us: int | None = None  # of the window before, and of this one so far
        self._window_min_delay_us: int | None = None
        self._window_end_us = 0

    def may_pause(self, arrival_us: int, media_us: int) -> bool:
        """True if this packet's delay is within `ON_TIME_US` of the minimum of the last 10 to 20 s."""
        delay_us = arrival_us - media_us
        if self._window_min_delay_us is None or arrival_us >= self._window_end_us:
            self._min_delay_us, self._window_min_delay_us, self._window_end_us = (
                self._window_min_delay_us,
                delay_us,
                arrival_us + WINDOW_US,
            )
        self._window_min_delay_us = min(self._window_min_delay_us, delay_us)
        self._min_delay_us = (
            self._window_min_delay_us if self._min_delay_us is None else min(self._min_delay_us, delay_us)
        )
        return delay_us - self._min_delay_us <= ON_TIME_US
