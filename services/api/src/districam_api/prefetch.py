"""Read-ahead: the next item is fetched while the current one is processed."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def prefetch(source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The items of `source`, each fetched one ahead. Close both generators, this one first."""

    async def next_item() -> tuple[T] | None:
        async for item in source:
            return (item,)
        return None

    def start_next() -> asyncio.Task[tuple[T] | None]:
        # A TaskGroup would wrap the GeneratorExit that closes a generator into an ExceptionGroup.
        return asyncio.create_task(next_item())  # noqa: TID251  # awaited below in any case

    pending = start_next()
    try:
        while item := await pending:
            pending = start_next()
            yield item[0]
    finally:
        pending.cancel()
        await asyncio.wait([pending])
        if not pending.cancelled():
            pending.exception()  # retrieved, so that asyncio does not log it
