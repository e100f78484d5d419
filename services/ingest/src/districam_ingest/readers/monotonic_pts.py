"""Timestamps that follow a wall clock, without its steps.

libavformat lays the streams of a session that has several on the camera's wall clock, as its sender reports tell it. That
clock may be set. A step shows as a leap that the arrivals do not bear out.
"""

from districam_common.contract import ticks

MAX_STEP_US = 1_000_000


class MonotonicPts:
    """One stream's."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None  # as it came; when
        self._interval = 0
        self._offset_ticks = 0

    def feed(self, pts: int, arrival_us: int) -> int:
        """The next timestamp, in 90 kHz ticks. One that leaps goes on as those before did."""
        if self._last is not None:
            step = pts - self._last[0]
            step_us, elapsed_us = ticks.to_us(step), arrival_us - self._last[1]
            if step_us < -MAX_STEP_US or (step_us > MAX_STEP_US and elapsed_us * 2 < step_us):
                self._offset_ticks += self._interval - step
            elif step > 0:
                self._interval = step
        self._last = pts, arrival_us
        return pts + self._offset_ticks
