"""Waits for a condition, so that a test fails by an assertion that names it rather than by a timeout."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress


async def wait_until_async(condition: Callable[[], Awaitable[object]], within_s: float = 20) -> bool:
    """Whether the condition becomes true within `within_s`."""
    try:
        async with asyncio.timeout(within_s):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True


async def wait_until(condition: Callable[[], bool], *, within_s: float = 15) -> bool:
    """Whether the condition becomes true within `within_s`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.02)
    return condition()
