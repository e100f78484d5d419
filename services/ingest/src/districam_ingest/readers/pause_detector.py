"""When a reader that cannot ask whether more has come may leave a connection alone for a while.

A packet that came on time has nothing waiting behind it. What comes during the pause stays in the socket, and is read in
one go. A packet that is late says that more may wait, and is no reason to pause: so a pause never adds to a backlog.
"""

ON_TIME_US = 40_000
WINDOW_US = 10_000_000


class PauseDetector:
    """Of one connection, whose packets carry times of the camera's media clock."""

    def __init__(self) -> None:
        self._min_delay_us: int | None = None  # of the window before, and of this one so far
        self._window_min_delay_us: int | None = None
        self._window_end_us = 0

    def may_pause(self, arrival_us: int, media_us: int) -> bool:
        """Whether a packet of that media time, read at `arrival_us`, came as soon after it as any of the last ten to twenty seconds."""
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
