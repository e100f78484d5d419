"""How much is stored, by camera and hour, as the index counts it; and counting it where nobody has."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import AsyncGenerator
from typing import Literal, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from districam_common.contract import names
from districam_common.index import index_replies as replies
from districam_common.index.redis_door import piped, read_hash, redis_errors
from districam_common.runtime.service import Runtime
from districam_indexer.counting import is_behind, stage_begin, stage_count
from districam_indexer.index_writer import IndexWriter

log = structlog.get_logger()

COUNTER = f"{names.PREFIX}counter"
"""Who is counting; it expires."""
_COUNTER_TTL_S = 30
_SCAN_COUNT = 1000
_AT_ONCE = 50
"""Hours counted in one script: Redis serves nobody else meanwhile; 5 ms."""

Standing = Literal["right", "behind", "none"]
"""Of the counts: `behind`: an indexer of an earlier version has added segments that are not counted."""


class Usage:
    """Everything raises `Retriable` while Redis is in trouble."""

    def __init__(self, redis: Redis, writer: IndexWriter, runtime: Runtime) -> None:
        self._redis = redis
        self._writer = writer
        self._runtime = runtime

    async def standing(self, build: str) -> Standing:
        """How far the counts of that index can be believed."""
        async with piped(self._redis, "reading how far the hours are counted", transaction=True) as pipe:
            pipe.hgetall(names.COUNTED)
            pipe.hgetall(names.APPLIED)
            counted, applied = cast("list[dict[bytes, bytes]]", await pipe.execute())
        if counted.get(b"build") != build.encode():
            return "none"
        return "behind" if is_behind(counted, applied) else "right"

    async def count(self, build: str) -> None:
        """Counts all hours of the index, a few at a time; nothing if somebody else is at it.

        Raises:
            IndexChanged: the index is not that of `build` any more.
        """
        if not await self._claim():
            return
        began_us, hours = self._runtime.clock.monotonic_us(), 0
        await self._begin(build)
        async for page in indexed_hours(self._redis):
            for n in range(0, len(page), _AT_ONCE):
                await self._count(page[n : n + _AT_ONCE])
            hours += len(page)
            if self._runtime.stopping.is_set() or not await self._claim():
                return

        async def stage(pipe: Pipeline) -> None:
            pipe.multi()
            pipe.hset(names.COUNTED, "build", build)
            pipe.delete(COUNTER)

        await self._writer.transact("ending the count", build, stage)
        took_us = self._runtime.clock.monotonic_us() - began_us
        log.info("hours counted", hours=hours, seconds=round(took_us / 1e6, 1))

    async def totals(self) -> dict[str, int]:
        """Camera → bytes of its segments."""
        found = await read_hash(self._redis, names.USED, "reading how much is indexed")
        return replies.sizes(found)

    async def bytes_by_hour(self, camera_id: str) -> dict[int, int]:
        """Start of the hour → bytes, of all hours of the camera of which anything is indexed."""
        found = await read_hash(
            self._redis, names.used_key(camera_id), "reading how much of a camera is indexed"
        )
        return replies.sizes_by_hour(found, camera_id)

    async def _begin(self, build: str) -> None:
        """What an earlier count, or another index, has left is no longer believed; then it is forgotten."""

        async def stage(pipe: Pipeline) -> None:
            pipe.multi()
            stage_begin(pipe)

        await self._writer.transact("beginning to count", build, stage)
        with redis_errors("forgetting the old counts"):
            async for page in _scanned(self._redis, f"{names.USED}:*"):
                await self._redis.unlink(*page)
            await self._redis.delete(names.USED)

    async def _count(self, hours: list[tuple[str, str]]) -> None:
        async with piped(self._redis, "counting hours") as pipe:
            stage_count(pipe, hours)
            await pipe.execute()

    async def _claim(self) -> bool:
        instance = self._runtime.instance
        with redis_errors("claiming the count"):
            if await self._redis.set(COUNTER, instance, nx=True, ex=_COUNTER_TTL_S):
                return True
            if await self._redis.get(COUNTER) != instance.encode():
                return False
            await self._redis.expire(COUNTER, _COUNTER_TTL_S)
            return True


async def indexed_hours(redis: Redis) -> AsyncGenerator[list[tuple[str, str]]]:
    """(camera, `hour_text`) of all hours of which anything is indexed, a thousand at a time; one may come twice.

    Walks over all keys: a district has millions.
    """
    async for page in _scanned(redis, f"{names.PREFIX}seg:*"):
        parsed = [names.parse_segments_key(key.decode(errors="replace")) for key in page]
        yield [one for one in parsed if one is not None]


async def _scanned(redis: Redis, pattern: str) -> AsyncGenerator[list[bytes]]:
    cursor = 0
    while True:
        with redis_errors("walking over the keys"):
            cursor, found = await redis.scan(cursor, match=pattern, count=_SCAN_COUNT)
        page = cast("list[bytes]", found)
        if page:
            yield page
        if not cursor:
            return
