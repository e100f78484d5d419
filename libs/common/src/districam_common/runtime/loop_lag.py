"""Measures the lag of the event loop, which delays all of its tasks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prometheus_client import Histogram

SAMPLE_S = 0.5

LOOP_LAG_SECONDS = Histogram(
    "districam_loop_lag_seconds",
    "How much later than asked the event loop came back, twice a second",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)


@asynccontextmanager
async def measure_loop_lag() -> AsyncGenerator[None]:
    """Measures the running loop's lag for the duration of the block."""
    async with asyncio.TaskGroup() as tasks:
        sampling = tasks.create_task(_sample())
        try:
            yield
        finally:
            sampling.cancel()


async def _sample() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + SAMPLE_S
        await asyncio.sleep(SAMPLE_S)
        LOOP_LAG_SECONDS.observe(max(0.0, loop.time() - due_s))
