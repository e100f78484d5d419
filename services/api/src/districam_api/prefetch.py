"""Read-ahead: the next item is fetched while the current one is processed."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def prefetch(source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The items of `source`, each fetched one ahead. Close both generators, this one first."""

    async def following() -> tuple[T] | None:
        async for item in source:
            return (item,)
        return None

    def start_next() -> asyncio.Task[tuple[T] | None]:
        # A TaskGroup would make a group of errors of the GeneratorExit by which generators are closed.
        return asyncio.create_task(following())  # noqa: TID251  # it is awaited below in any case

    coming = start_next()
    try:
        while item := await coming:
            coming = start_next()
            yield item[0]
    finally:
        coming.cancel()
        await asyncio.wait([coming])
        if not coming.cancelled():
            coming.exception()  # of an item that nobody wants any more
