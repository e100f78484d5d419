"""Streams take turns in being opened, so that a district that starts does not ask all its cameras at one instant."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

TURN_S = 0.5
"""A camera of a healthy network is open sooner. Whoever needs longer waits for an answer, and that costs no CPU."""


class Turns:
    """Two lanes of so many places each: one for cameras that could not be opened the last time, one for all others.

    A turn is over after `TURN_S`, whether or not the camera has answered. A dead camera keeps its opening waiting for ten
    seconds: with turns as long as that, 300 of them take all places for ever, and in one lane a healthy camera whose
    connection broke waits behind them.
    """

    def __init__(self, at_once: int) -> None:
        self._healthy, self._failing = asyncio.Semaphore(at_once), asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def turn(self, *, is_failing: bool) -> AsyncGenerator[None]:
        """Waits for a turn; the block may go on when that is over."""
        lane = self._failing if is_failing else self._healthy
        await lane.acquire()
        place = _Place(lane)
        over = asyncio.get_running_loop().call_later(TURN_S, place.leave)
        try:
            yield
        finally:
            over.cancel()
            place.leave()


class _Place:
    def __init__(self, lane: asyncio.Semaphore) -> None:
        self._lane, self._is_taken = lane, True

    def leave(self) -> None:
        """Also twice."""
        if self._is_taken:
            self._is_taken = False
            self._lane.release()
