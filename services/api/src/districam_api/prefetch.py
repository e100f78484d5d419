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
        # A TaskGroup would wrap the GeneratorExit that closes a generator into an ExceptionGroup.
        return asyncio.create_task(following())  # noqa: TID251  # awaited below in any case

    coming = start_next()
    try:
        while item := await coming:
            coming = start_next()
            yield item[0]
    finally:
        coming.cancel()
        await asyncio.wait([coming])
        if not coming.cancelled():
            coming.exception()  # retrieved, so that asyncio does not log it
