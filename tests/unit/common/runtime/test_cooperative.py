import asyncio
import time

import pytest

from districam_common.runtime.cooperative import (
    MAX_SLICE_US,
    MIN_EVENTS_FOR_THREAD,
    run_in_thread_if_long,
    yield_periodically,
)


@pytest.mark.correctness
async def test_other_tasks_run_during_a_loop_over_all_cameras():
    turns, is_done = 0, False

    async def other() -> None:
        nonlocal turns
        while not is_done:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other())
        found: list[int] = []
        async for n in yield_periodically(range(10)):
            time.sleep(MAX_SLICE_US / 1e6)  # work
            found.append(n)
        is_done = True
    assert found == list(range(10))
    assert turns >= 9


def slow() -> int:
    return sum(n % 7 for n in range(2_000_000))


async def longest_wait_s(events: int) -> float:
    """The longest time that another task waited for the loop meanwhile, seconds."""
    waits: list[float] = []
    judging = asyncio.ensure_future(run_in_thread_if_long(slow, events))
    while not judging.done():
        began_s = time.monotonic()
        await asyncio.sleep(0.001)
        waits.append(time.monotonic() - began_s)
    assert await judging == slow()
    return max(waits)


@pytest.mark.hostile
async def test_a_ledger_of_many_events_does_not_block_the_loop():
    """Compared with a camera of few events, so that the test does not depend on the host's speed."""
    at_once = [await longest_wait_s(0) for _ in range(3)]
    beside = [await longest_wait_s(MIN_EVENTS_FOR_THREAD) for _ in range(3)]
    assert min(beside) < min(at_once) / 2
