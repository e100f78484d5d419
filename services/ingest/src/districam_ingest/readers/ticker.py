"""One timer for many sources: ticks that are due at about the same time share a wake-up.

Sleeping and waking up for each camera costs more CPU than processing what the camera sent.
"""

import asyncio

from districam_common.runtime.clock import Clock


class _Waiter:
    __slots__ = ("due_us", "latest_us", "woken")

    def __init__(self, due_us: int, latest_us: int, woken: asyncio.Future[None]) -> None:
        self.due_us, self.latest_us, self.woken = due_us, latest_us, woken


class Ticker:
    """Wakes each waiter at the first wake-up after its tick is due, at the latest when its slack is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: list[_Waiter] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_us = 0

    def wait_until(self, due_us: int, slack_us: int) -> asyncio.Future[None]:
        """A future that is done between `due_us` (monotonic) and `slack_us` after it."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        latest_us = due_us + slack_us
        self._waiters.append(_Waiter(due_us, latest_us, woken))
        if self._timer is None or latest_us < self._timer_us:
            self._schedule(latest_us)
        return woken

    def _schedule(self, due_us: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, due_us - self._clock.monotonic_us()) / 1e6
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)
        self._timer_us = due_us

    def _wake(self) -> None:
        self._timer = None
        now_us = self._clock.monotonic_us()
        waiting, self._waiters = self._waiters, []
        for one in waiting:
            if one.woken.done():  # cancelled
                continue
            if one.due_us <= now_us:
                one.woken.set_result(None)
            else:
                self._waiters.append(one)
        if self._waiters:
            self._schedule(min(one.latest_us for one in self._waiters))
