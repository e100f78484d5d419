import asyncio
import time
from collections.abc import Sequence

import pytest

from districam_common.recent import Recent
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


def test_the_last_events_of_a_camera_are_parsed_when_they_are_others():
    calls: list[str] = []

    def parse(members: Sequence[bytes]) -> str:
        calls.append(b"".join(members).decode())
        return calls[-1]

    recent = Recent(parse)
    for _ in range(3):
        assert [recent.of(one, [one.encode()]) for one in ("a", "b")] == ["a", "b"]
    assert calls == ["a", "b"]
    assert recent.of("a", [b"a", b"c"]) == "ac"
    assert recent.of("a", [b"a"]) == "a", "what is gone again is not shown"
    assert recent.of("a", [b"ab"]) == "ab"
