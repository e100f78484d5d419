"""Limits how many streams are being opened at once, so that a start does not connect to all cameras at one instant."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

MAX_SLOT_S = 0.5
"""A camera on a healthy network opens sooner. An attempt that takes longer waits for an answer, which costs no CPU."""


class OpenLimiter:
    """Two pools of `max_concurrent` slots: one for cameras whose last attempt to open failed, one for all others.

    A slot is released after `MAX_SLOT_S` even if the camera has not answered. An attempt on a dead camera takes ten
    seconds: if it kept its slot, 300 dead cameras would occupy all slots for ever, and in a shared pool a healthy camera
    that lost its connection would wait for them.
    """

    def __init__(self, max_concurrent: int) -> None:
        self._healthy, self._failing = asyncio.Semaphore(max_concurrent), asyncio.Semaphore(max_concurrent)

    @asynccontextmanager
    async def acquire(self, *, is_failing: bool) -> AsyncGenerator[None]:
        """Waits for a slot. The block may run on after the slot is released."""
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
        """Idempotent."""
        if self._is_acquired:
            self._is_acquired = False
            self._semaphore.release()
