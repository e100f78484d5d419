"""Knows when this process itself stood still, so that it does not blame the cameras."""

import asyncio
from typing import Final

from districam_common.runtime.clock import Clock

CHECK_INTERVAL_S: Final = 0.5
STALL_US: Final = 2_000_000
NEVER_US: Final = -(1 << 62)


class StallDetector:
    """Beats twice a second; a beat over 2 s late was a stall (SIGSTOP, a swapped-out host, a blocked loop).

    By either clock: while a virtual machine is paused its monotonic clock stands still, and only the wall clock, set anew,
    shows how long that was.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_check_us, self._last_check_wall_us = clock.monotonic_us(), clock.now_us()
        self._stalled_us = NEVER_US

    async def run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            self._check()

    def has_stalled_since(self, monotonic_us: int) -> bool:
        """Whether a stall was going on at or after the instant."""
        self._check()
        return self._stalled_us >= monotonic_us

    def _check(self) -> None:
        now_us, wall_us = self._clock.monotonic_us(), self._clock.now_us()
        if max(now_us - self._last_check_us, wall_us - self._last_check_wall_us) > STALL_US + CHECK_INTERVAL_S * 1e6:
            self._stalled_us = now_us
        self._last_check_us, self._last_check_wall_us = now_us, wall_us
