"""Keeps the C library's heap small, and the pauses of the cycle collector short.

Memory that a service used during an outage stays with glibc when it is freed: glibc returns only the top of the heap by
itself, while `malloc_trim` (malloc_trim(3)) returns whole free pages anywhere in it. Also, glibc makes up to eight arenas
per core for threads, each with its own peak (mallopt(3)); threads that share the interpreter's lock gain nothing by that,
so there are two.

A full collection visits every container of the process, about 0.1 µs each, and stops everything else: 600 ms in an
indexer with the events of 10,000 cameras (`make bench-scale`), each time that these have grown by a quarter. So objects
that survived a full collection are excluded from later ones (`gc.freeze`). They are still freed with their last
reference; only cycles that were alive then and are dropped later leak, and those are few: connections, tasks.
"""

import asyncio
import ctypes
import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

TRIM_INTERVAL_S = 10.0
_M_ARENA_MAX, _ARENAS = -8, 2
"""`M_ARENA_MAX` of glibc's malloc.h (mallopt(3)), and its value."""
_COLLECT_INTERVAL_S = 0.25
_MIN_CONTAINERS = 100_000
"""Containers in the oldest generation before a full collection: about 30 ms."""
_NEVER = 1 << 30
"""Threshold that is not reached: no automatic collections of that generation."""


def limit_arenas() -> None:
    """Limits malloc's arenas for the whole process; call it before starting threads. No effect without `mallopt`."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def trimmer() -> Callable[[], object] | None:
    """The C library's `malloc_trim(0)`; None if it has none (musl, macOS)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: cast("object", trim(0))


@asynccontextmanager
async def trim_periodically(every_s: float = TRIM_INTERVAL_S) -> AsyncGenerator[None]:
    """Trims the heap every `every_s` seconds for the duration of the block; in a thread, since it may take milliseconds."""
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
    """Replaces the interpreter's full collections by short ones for the duration of the block."""
    thresholds = gc.get_threshold()
    gc.set_threshold(thresholds[0], _NEVER, _NEVER)  # so only `_collect` moves objects to the oldest generation
    gc.freeze()  # the imported modules and their objects
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
    moved = 0  # objects moved to the oldest generation since it was last counted, or its size then: its size at most
    while True:
        await asyncio.sleep(_COLLECT_INTERVAL_S)
        moved += len(gc.get_objects(0)) + len(gc.get_objects(1))
        # The interpreter triggers by allocations minus deallocations: containers that replace others would not count,
        # and a later collection would visit all of them at once.
        gc.collect(1)
        if moved < _MIN_CONTAINERS:
            continue  # counting the oldest generation takes a millisecond, four times a second
        moved = len(gc.get_objects(2))
        if moved >= _MIN_CONTAINERS:
            gc.collect()
            gc.freeze()
            moved = 0
