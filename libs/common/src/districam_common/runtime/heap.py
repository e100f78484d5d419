"""Keeps the C library's heap small: few arenas, and what is free goes back to the system now and then.

What an outage made a service hold, glibc keeps when it is free again, spread over pages that are in use elsewhere. It
returns the top of the heap alone by itself; `malloc_trim` (malloc_trim(3)) returns whole free pages wherever they lie.
And it makes an arena for each thread, up to eight a core, each with a highest mark of its own (mallopt(3)); threads that
hold the interpreter's lock by turns gain nothing by that.

And it keeps the pauses of the interpreter's cycle collector short. A full collection looks at every container that the
process has, some 0.1 µs each, and nothing else runs meanwhile: 600 ms in an indexer that remembers the events of 10,000
cameras (`make bench-scale`), each time that these have grown by a quarter. What has survived a full collection is therefore looked
at no more (`gc.freeze`). It is still freed with its last reference; only a cycle that was alive at
such a moment and is dropped later stays, and those are few: connections, tasks.
"""

import asyncio
import ctypes
import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

TRIM_INTERVAL_S = 10.0
_M_ARENA_MAX, _ARENAS = -8, 2
_COLLECT_INTERVAL_S = 0.25
_MIN_CONTAINERS = 100_000
"""Containers: some 30 ms of collecting."""
_NEVER = 1 << 30


def limit_arenas() -> None:
    """For the whole process; to be called before it has threads. Does nothing where there is no `mallopt`."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def trimmer() -> Callable[[], object] | None:
    """The C library's `malloc_trim(0)`; None where it has none (musl, macOS)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: cast("object", trim(0))


@asynccontextmanager
async def trim_periodically(every_s: float = TRIM_INTERVAL_S) -> AsyncGenerator[None]:
    """Trims the heap so often for the length of the block, in a thread: it may take milliseconds."""
    trim = trimmer()
    if trim is None:
        yield
        return
    async with asyncio.TaskGroup() as tasks:
        trimming = tasks.create_task(_trim(trim, every_s))
        try:
            yield
        finally:
            trimming.cancel()


async def _trim(trim: Callable[[], object], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(trim)


@asynccontextmanager
async def collect_periodically() -> AsyncGenerator[None]:
    """For the length of the block, full collections of cyclic garbage are made here alone, and are short."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    gc.freeze()  # modules and what they made when they were imported
    try:
        async with asyncio.TaskGroup() as tasks:
            collecting = tasks.create_task(_collect())
            try:
                yield
            finally:
                collecting.cancel()
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def _collect() -> None:
    while True:
        await asyncio.sleep(_COLLECT_INTERVAL_S)
        # The interpreter counts allocations less deallocations: containers that take the place of others count as none, and
        # some day it would meet them all at once.
        gc.collect(1)
        if len(gc.get_objects(2)) >= _MIN_CONTAINERS:
            gc.collect()
            gc.freeze()
