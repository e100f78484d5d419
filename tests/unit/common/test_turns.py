import asyncio
import time

import pytest

from districam_common.turns import TURN_US, in_turns


@pytest.mark.correctness
async def test_whatever_else_waits_gets_its_turn_while_a_district_is_gone_over():
    turns, is_done = 0, False

    async def other() -> None:
        nonlocal turns
        while not is_done:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other())
        found: list[int] = []
        async for n in in_turns(range(10)):
            time.sleep(TURN_US / 1e6)  # work
            found.append(n)
        is_done = True
    assert found == list(range(10))
    assert turns >= 9
