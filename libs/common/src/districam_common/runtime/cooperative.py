"""Long work on an event loop, done so that nothing else waits for it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TypeVar

from districam_common.runtime.clock import SystemClock

T = TypeVar("T")

MAX_SLICE_US = 20_000
"""What one look at a whole district may take of the loop before others get their turn."""

MIN_EVENTS_FOR_THREAD = 5000
"""Some 30 ms of ledger."""


async def run_in_thread_if_long(compute: Callable[[], T], events: int) -> T:
    """What `compute` gives of so many events; in a thread where that takes long.

    A month of a camera that was away has 60,000 refusals, 0.7 s of ledger. One that means harm has as many within days.
    """
    return compute() if events < MIN_EVENTS_FOR_THREAD else await asyncio.to_thread(compute)


async def yield_periodically(items: Iterable[T]) -> AsyncGenerator[T]:
    """The same items; every 20 ms everything else that waits for the loop gets its turn first.

    For whatever goes over all cameras, or over as many records as there may be: none of it may keep recording, answers
    or memberships waiting, however many there are.
    """
    clock = SystemClock()
    began_us = clock.monotonic_us()
    for item in items:
        if clock.monotonic_us() - began_us >= MAX_SLICE_US:
            await asyncio.sleep(0)
            began_us = clock.monotonic_us()
        yield item
