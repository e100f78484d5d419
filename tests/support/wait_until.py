"""Waiting for what a test is about, so that it fails by an assertion that names it and not by a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress


async def wait_until_async(condition: Callable[[], Awaitable[object]], within_s: float = 20) -> bool:
    """Whether it comes true in that time."""
    try:
        async with asyncio.timeout(within_s):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True


async def wait_until(condition: Callable[[], bool], *, within_s: float = 15) -> bool:
    """Whether the condition holds within that time; waits until it does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.02)
    return condition()
