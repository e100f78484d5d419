"""Read-ahead yields the same items in the same order, fetches one ahead, and leaves no task running."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from districam_api.prefetch import prefetch


class Source:
    """Counts the items that were fetched."""

    def __init__(self, count: int, *, fails: bool = False, stuck: bool = False) -> None:
        self.asked = 0
        self.is_closed = False
        self._count, self._fails, self._stuck = count, fails, stuck

    async def items(self) -> AsyncGenerator[int]:
        try:
            for n in range(self._count):
                self.asked += 1
                await asyncio.sleep(0)
                yield n
            if self._fails:
                raise LookupError("gone")
            if self._stuck:
                await asyncio.Event().wait()
        finally:
            self.is_closed = True


async def test_items_are_yielded_in_order_one_fetched_ahead():
    source, found = Source(5), list[tuple[int, int]]()
    async with aclosing(source.items()) as items, aclosing(prefetch(items)) as coming:
        async for item in coming:
            await asyncio.sleep(0.01)
            found.append((item, source.asked))
    assert found == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5)]
    assert source.is_closed


async def test_an_error_is_raised_after_the_items_before_it():
    async with aclosing(Source(2, fails=True).items()) as items, aclosing(prefetch(items)) as coming:
        assert [await anext(coming), await anext(coming)] == [0, 1]
        with pytest.raises(LookupError, match="gone"):
            await anext(coming)


@pytest.mark.parametrize("source", [Source(1, stuck=True), Source(1, fails=True), Source(9)])
async def test_stopping_early_leaves_no_task_running(source: Source):
    async with asyncio.timeout(5):
        async with aclosing(source.items()) as items, aclosing(prefetch(items)) as coming:
            assert await anext(coming) == 0
            await asyncio.sleep(0.01)
    assert source.is_closed
    assert asyncio.all_tasks() == {asyncio.current_task()}
