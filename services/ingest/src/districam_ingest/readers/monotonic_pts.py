"""Removes steps of the camera's wall clock from libavformat's timestamps.

In a session with several streams libavformat maps timestamps to the camera's wall clock by its sender
reports. When that clock is set, timestamps jump, but times of arrival do not.
"""

from districam_common.contract import ticks

MAX_STEP_US = 1_000_000


class MonotonicPts:
    """Timestamps of one stream without steps."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None  # pts as received, arrival_us
        self._interval = 0
        self._offset_ticks = 0

    def feed(self, pts: int, arrival_us: int) -> int:
        """Returns the next timestamp, in 90 kHz ticks. After a jump it continues by the previous interval."""
        if self._last is not None:
            step = pts - self._last[0]
            step_us, elapsed_us = ticks.to_us(step), arrival_us - self._last[1]
            if step_us < -MAX_STEP_US or (step_us > MAX_STEP_US and elapsed_us * 2 < step_us):
                self._offset_ticks += self._interval - step
            elif step > 0:
                self._interval = step
        self._last = pts, arrival_us
        return pts + self._offset_ticks
