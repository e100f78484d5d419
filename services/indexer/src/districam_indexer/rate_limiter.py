"""A rate limiter."""

from districam_common.runtime.service import Runtime


class RateLimiter:
    """Allows `per_s` units a second, evenly: each acquisition waits out the one before."""

    def __init__(self, runtime: Runtime, per_s: int) -> None:
        self._runtime = runtime
        self._per_s = per_s
        self._next_us = 0

    async def acquire(self, count: int) -> None:
        """Waits until `count` more units are allowed; returns at once when the service stops."""
        now_us = self._runtime.clock.monotonic_us()
        if self._next_us > now_us:
            await self._runtime.wait_stopping((self._next_us - now_us) / 1e6)
        self._next_us = max(now_us, self._next_us) + count * 1_000_000 // self._per_s
