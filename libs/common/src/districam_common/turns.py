"""Long work on an event loop, done so that nothing else waits for it."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import TypeVar

from districam_common.clock import SystemClock

T = TypeVar("T")

TURN_US = 20_000
"""What one look at a whole district may take of the loop before others get their turn."""


async def in_turns(items: Iterable[T]) -> AsyncGenerator[T]:
    """The same items; every 20 ms everything else that waits for the loop gets its turn first.

    For whatever goes over all cameras, or over as many records as there may be: none of it may keep recording, answers
    or memberships waiting, however many there are.
    """
    clock = SystemClock()
    began_us = clock.monotonic_us()
    for item in items:
        if clock.monotonic_us() - began_us >= TURN_US:
            await asyncio.sleep(0)
            began_us = clock.monotonic_us()
        yield item
