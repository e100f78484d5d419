"""Timestamps that follow a wall clock, without its steps.

libavformat lays the streams of a session that has several on the camera's wall clock, as its sender reports tell it. That
clock may be set. A step shows as a leap that the arrivals do not bear out.
"""

from districam_common.contract import ticks

STEP_US = 1_000_000


class Unstepped:
    """One stream's."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None  # as it came; when
        self._interval = 0
        self._shift = 0

    def take(self, pts: int, at_us: int) -> int:
        """The next timestamp, in 90 kHz ticks. One that leaps goes on as those before did."""
        if self._last is not None:
            step = pts - self._last[0]
            step_us, arrived_us = ticks.to_us(step), at_us - self._last[1]
            if step_us < -STEP_US or (step_us > STEP_US and arrived_us * 2 < step_us):
                self._shift += self._interval - step
            elif step > 0:
                self._interval = step
        self._last = pts, at_us
        return pts + self._shift
