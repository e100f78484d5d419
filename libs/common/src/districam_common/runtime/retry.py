"""Repeats a call while the server that it needs is away."""

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
    """The result of `attempt`, which is repeated after each `Retriable` as long as there are `delays` (seconds).

    Between two attempts `pause` is awaited; it ends the repeating if it raises.

    Raises:
        Retriable: the last one. Other errors pass.
    """
    for delay_s in delays:
        try:
            return await attempt()
        except Retriable as error:
            await pause(error, delay_s)
    return await attempt()
