"""Detects stalls of this process, so that gaps caused by them are not attributed to cameras."""

import asyncio
from typing import Final

from districam_common.runtime.clock import Clock

CHECK_INTERVAL_S: Final = 0.5
STALL_US: Final = 2_000_000
NEVER_US: Final = -(1 << 62)


class StallDetector:
    """Checks the clocks twice per second. A check over 2 s late means a stall: SIGSTOP, swapping, a blocked loop.

    Both clocks count: while a virtual machine is paused its monotonic clock stops, and only the wall clock,
    once it is set again, shows how long that was.
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
        """Whether a stall ended at or after `monotonic_us`."""
        self._check()
        return self._stalled_us >= monotonic_us

    def _check(self) -> None:
        now_us, wall_us = self._clock.monotonic_us(), self._clock.now_us()
        if max(now_us - self._last_check_us, wall_us - self._last_check_wall_us) > STALL_US + CHECK_INTERVAL_S * 1e6:
            self._stalled_us = now_us
        self._last_check_us, self._last_check_wall_us = now_us, wall_us
