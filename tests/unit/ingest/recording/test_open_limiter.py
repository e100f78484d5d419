"""Openings take turns; nobody keeps a turn for longer than it is, and who fails keeps nobody else waiting."""

import asyncio

import pytest

from districam_ingest.recording.open_limiter import MAX_SLOT_S, OpenLimiter
from support.virtual_time import in_virtual_time


class Openings:
    """Cameras being opened, each until it answers; the dead ones never do."""

    def __init__(self, at_once: int) -> None:
        self._turns = OpenLimiter(at_once)
        self.begun: list[str] = []

    async def dead(self, name: str, *, is_failing: bool = True) -> None:
        async with self._turns.acquire(is_failing=is_failing):
            self.begun.append(name)
            await asyncio.Event().wait()

    async def alive(self, name: str, *, is_failing: bool) -> None:
        async with self._turns.acquire(is_failing=is_failing):
            self.begun.append(name)


async def began(openings: Openings, name: str, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            while name not in openings.begun:
                await asyncio.sleep(MAX_SLOT_S / 10)
    except TimeoutError:
        return False
    return True


@in_virtual_time
async def test_at_most_max_concurrent_streams_open_at_once():
    openings = Openings(3)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        dead = [tasks.create_task(openings.dead(f"dead-{n}")) for n in range(7)]
        await asyncio.sleep(0)
        assert len(openings.begun) == 3
        await began(openings, "dead-6", MAX_SLOT_S * 4)
        assert openings.begun == [f"dead-{n}" for n in range(7)]
        for task in dead:
            task.cancel()


@pytest.mark.correctness
@in_virtual_time
async def test_a_camera_that_does_not_answer_frees_its_slot_after_the_slot_time():
    openings = Openings(1)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        dead = [tasks.create_task(openings.dead(f"dead-{n}")) for n in range(3)]
        await asyncio.sleep(0)
        tasks.create_task(openings.alive("back again", is_failing=True))
        assert await began(openings, "back again", MAX_SLOT_S * 20)
        for task in dead:
            task.cancel()


@pytest.mark.correctness
@in_virtual_time
async def test_failing_cameras_do_not_delay_healthy_ones():
    openings = Openings(1)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        dead = [tasks.create_task(openings.dead(f"dead-{n}")) for n in range(100)]
        await asyncio.sleep(0)
        tasks.create_task(openings.alive("healthy", is_failing=False))
        assert await began(openings, "healthy", MAX_SLOT_S * 10)
        for task in dead:
            task.cancel()


@in_virtual_time
async def test_a_slot_that_expired_or_was_cancelled_is_released_exactly_once():
    openings = Openings(1)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        for n in range(3):
            await openings.alive(f"alive-{n}", is_failing=True)
        first, waiting = (tasks.create_task(openings.dead(f"dead-{n}")) for n in range(2))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(MAX_SLOT_S * 2)
        first.cancel()
        await asyncio.sleep(0)
        rest = [tasks.create_task(openings.dead(f"rest-{n}")) for n in range(2)]
        await asyncio.sleep(0)
        assert openings.begun == ["alive-0", "alive-1", "alive-2", "dead-0", "rest-0"]
        for task in rest:
            task.cancel()
