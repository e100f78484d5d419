"""Runs long computations without blocking the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TypeVar

from districam_common.runtime.clock import SystemClock

T = TypeVar("T")

MAX_SLICE_US = 20_000
"""Longest time that `yield_periodically` runs before other tasks get their turn."""

MIN_EVENTS_FOR_THREAD = 5000
"""The ledger takes about 30 ms for this many events."""


async def run_in_thread_if_long(compute: Callable[[], T], events: int) -> T:
    """The result of `compute`, run in a thread if it handles at least `MIN_EVENTS_FOR_THREAD` events.

    A camera that is unreachable for a month has 60,000 `refused` events, which take the ledger 0.7 s.
    """
    return compute() if events < MIN_EVENTS_FOR_THREAD else await asyncio.to_thread(compute)


async def yield_periodically(items: Iterable[T]) -> AsyncGenerator[T]:
    """Yields the items; every 20 ms it lets all other ready tasks run first.

    For loops over all cameras, or over an unbounded number of records: they must not delay recording, responses or
    Kafka heartbeats.
    """
    clock = SystemClock()
    began_us = clock.monotonic_us()
    for item in items:
        if clock.monotonic_us() - began_us >= MAX_SLICE_US:
            await asyncio.sleep(0)
            began_us = clock.monotonic_us()
        yield item
