"""Streams take turns in being opened, so that a district that starts does not ask all its cameras at one instant."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

MAX_SLOT_S = 0.5
"""A camera of a healthy network is open sooner. Whoever needs longer waits for an answer, and that costs no CPU."""


class OpenLimiter:
    """Two lanes of so many places each: one for cameras that could not be opened the last time, one for all others.

    A turn is over after `TURN_S`, whether or not the camera has answered. A dead camera keeps its opening waiting for ten
    seconds: with turns as long as that, 300 of them take all places for ever, and in one lane a healthy camera whose
    connection broke waits behind them.
    """

    def __init__(self, max_concurrent: int) -> None:
        self._healthy, self._failing = asyncio.Semaphore(max_concurrent), asyncio.Semaphore(max_concurrent)

    @asynccontextmanager
    async def acquire(self, *, is_failing: bool) -> AsyncGenerator[None]:
        """Waits for a turn; the block may go on when that is over."""
        semaphore = self._failing if is_failing else self._healthy
        await semaphore.acquire()
        slot = _Slot(semaphore)
        timeout = asyncio.get_running_loop().call_later(MAX_SLOT_S, slot.release)
        try:
            yield
        finally:
            timeout.cancel()
            slot.release()


class _Slot:
    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore, self._is_acquired = semaphore, True

    def release(self) -> None:
        """Also twice."""
        if self._is_acquired:
            self._is_acquired = False
            self._semaphore.release()
