"""Repeats a call while it raises Retriable."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from districam_common.errors import Retriable

T = TypeVar("T")


async def _pause(_: Retriable, delay_s: float) -> None:
    await asyncio.sleep(delay_s)


async def retry(
    attempt: Callable[[], Awaitable[T]],
    delays: Iterable[float],
    pause: Callable[[Retriable, float], Awaitable[None]] = _pause,
) -> T:
    """The result of `attempt`, repeated after each `Retriable` until `delays` (seconds) are exhausted.

    Awaits `pause` between two attempts; if it raises, the retries end.

    Raises:
        Retriable: of the last attempt. Other errors are not caught.
    """
    for delay_s in delays:
        try:
            return await attempt()
        except Retriable as error:
            await pause(error, delay_s)
    return await attempt()
