"""The number of concurrent opens is limited; slots expire, and failing cameras do not delay healthy ones."""

import asyncio

import pytest

from districam_ingest.recording.open_limiter import MAX_SLOT_S, OpenLimiter
from support.virtual_time import in_virtual_time


class SimulatedOpens:
    """Opens cameras through an `OpenLimiter`; `open_unanswered` never gets an answer."""

    def __init__(self, at_once: int) -> None:
        self._limiter = OpenLimiter(at_once)
        self.started: list[str] = []

    async def open_unanswered(self, name: str, *, is_failing: bool = True) -> None:
        async with self._limiter.acquire(is_failing=is_failing):
            self.started.append(name)
            await asyncio.Event().wait()

    async def open_answered(self, name: str, *, is_failing: bool) -> None:
        async with self._limiter.acquire(is_failing=is_failing):
            self.started.append(name)


async def has_started(opens: SimulatedOpens, name: str, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            while name not in opens.started:
                await asyncio.sleep(MAX_SLOT_S / 10)
    except TimeoutError:
        return False
    return True


@in_virtual_time
async def test_at_most_max_concurrent_streams_open_at_once():
    opens = SimulatedOpens(3)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        open_unanswered = [tasks.create_task(opens.open_unanswered(f"dead-{n}")) for n in range(7)]
        await asyncio.sleep(0)
        assert len(opens.started) == 3
        await has_started(opens, "dead-6", MAX_SLOT_S * 4)
        assert opens.started == [f"dead-{n}" for n in range(7)]
        for task in open_unanswered:
            task.cancel()


@pytest.mark.correctness
@in_virtual_time
async def test_a_camera_that_does_not_answer_frees_its_slot_after_the_slot_time():
    opens = SimulatedOpens(1)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        open_unanswered = [tasks.create_task(opens.open_unanswered(f"dead-{n}")) for n in range(3)]
        await asyncio.sleep(0)
        tasks.create_task(opens.open_answered("back again", is_failing=True))
        assert await has_started(opens, "back again", MAX_SLOT_S * 20)
        for task in open_unanswered:
            task.cancel()


@pytest.mark.correctness
@in_virtual_time
async def test_failing_cameras_do_not_delay_healthy_ones():
    opens = SimulatedOpens(1)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        open_unanswered = [tasks.create_task(opens.open_unanswered(f"dead-{n}")) for n in range(100)]
        await asyncio.sleep(0)
        tasks.create_task(opens.open_answered("healthy", is_failing=False))
        assert await has_started(opens, "healthy", MAX_SLOT_S * 10)
        for task in open_unanswered:
            task.cancel()


@in_virtual_time
async def test_a_slot_that_expired_or_was_cancelled_is_released_exactly_once():
    opens = SimulatedOpens(1)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        for n in range(3):
            await opens.open_answered(f"alive-{n}", is_failing=True)
        first, waiting = (tasks.create_task(opens.open_unanswered(f"dead-{n}")) for n in range(2))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(MAX_SLOT_S * 2)
        first.cancel()
        await asyncio.sleep(0)
        remaining = [tasks.create_task(opens.open_unanswered(f"rest-{n}")) for n in range(2)]
        await asyncio.sleep(0)
        assert opens.started == ["alive-0", "alive-1", "alive-2", "dead-0", "rest-0"]
        for task in remaining:
            task.cancel()
