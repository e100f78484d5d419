"""Stored bytes by camera and hour, as counted in the index; recounts them where the counts are missing."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import AsyncGenerator
from typing import Literal, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from districam_common.contract import names
from districam_common.index import index_codec as replies
from districam_common.index.redis_client import open_pipeline, read_hash, translate_redis_errors
from districam_common.runtime.service import Runtime
from districam_indexer.index_store.index_writer import IndexWriter
from districam_indexer.index_store.usage_scripts import has_uncounted, queue_begin_count, queue_count_hours

log = structlog.get_logger()

COUNT_LOCK = f"{names.PREFIX}counter"
"""Lock with expiry: the instance that recounts."""
_COUNT_LOCK_TTL_S = 30
_SCAN_COUNT = 1000
_HOURS_PER_SCRIPT = 50
"""Hours counted in one script, which blocks Redis for about 5 ms."""

CountState = Literal["complete", "incomplete", "missing"]
"""`missing`: not counted for this index; `incomplete`: an earlier version's indexer added segments uncounted."""


class UsageCounter:
    """Reads and rebuilds the byte counts. All methods raise `Retriable` while Redis is unavailable."""

    def __init__(self, redis: Redis, writer: IndexWriter, runtime: Runtime) -> None:
        self._redis = redis
        self._writer = writer
        self._runtime = runtime

    async def count_state(self, build: str) -> CountState:
        """Whether the counts are those of the index `build`, and complete."""
        async with open_pipeline(self._redis, "reading how far the hours are counted", transaction=True) as pipe:
            pipe.hgetall(names.USAGE_POSITION)
            pipe.hgetall(names.APPLIED)
            counted, applied = cast("list[dict[bytes, bytes]]", await pipe.execute())
        if counted.get(b"build") != build.encode():
            return "missing"
        return "incomplete" if has_uncounted(counted, applied) else "complete"

    async def recount(self, build: str) -> None:
        """Counts all hours of the index, a few at a time. Returns at once if another instance holds the lock.

        Raises:
            IndexChanged: the index is no longer that of `build`.
        """
        if not await self._acquire_lock():
            return
        began_us, hours = self._runtime.clock.monotonic_us(), 0
        await self._begin_count(build)
        async for page in indexed_hours(self._redis):
            for n in range(0, len(page), _HOURS_PER_SCRIPT):
                await self._count_hours(page[n : n + _HOURS_PER_SCRIPT])
            hours += len(page)
            if self._runtime.stopping.is_set() or not await self._acquire_lock():
                return

        async def queue_commands(pipe: Pipeline) -> None:
            pipe.multi()
            pipe.hset(names.USAGE_POSITION, "build", build)
            pipe.delete(COUNT_LOCK)

        await self._writer.transact("ending the count", build, queue_commands)
        took_us = self._runtime.clock.monotonic_us() - began_us
        log.info("hours counted", hours=hours, seconds=round(took_us / 1e6, 1))

    async def bytes_by_camera(self) -> dict[str, int]:
        """Camera → bytes of its segments."""
        found = await read_hash(self._redis, names.USAGE, "reading how much is indexed")
        return replies.parse_usage(found)

    async def bytes_by_hour(self, camera_id: str) -> dict[int, int]:
        """Start of the hour → bytes, for all hours of the camera with indexed segments."""
        found = await read_hash(self._redis, names.usage_key(camera_id), "reading how much of a camera is indexed")
        return replies.parse_usage_by_hour(found, camera_id)

    async def _begin_count(self, build: str) -> None:
        """Invalidates the counts of an earlier run or index, then deletes them."""

        async def queue_commands(pipe: Pipeline) -> None:
            pipe.multi()
            queue_begin_count(pipe)

        await self._writer.transact("beginning to count", build, queue_commands)
        with translate_redis_errors("forgetting the old counts"):
            async for page in _scan(self._redis, f"{names.USAGE}:*"):
                await self._redis.unlink(*page)
            await self._redis.delete(names.USAGE)

    async def _count_hours(self, hours: list[tuple[str, str]]) -> None:
        async with open_pipeline(self._redis, "counting hours") as pipe:
            queue_count_hours(pipe, hours)
            await pipe.execute()

    async def _acquire_lock(self) -> bool:
        instance = self._runtime.instance
        with translate_redis_errors("claiming the count"):
            if await self._redis.set(COUNT_LOCK, instance, nx=True, ex=_COUNT_LOCK_TTL_S):
                return True
            if await self._redis.get(COUNT_LOCK) != instance.encode():
                return False
            await self._redis.expire(COUNT_LOCK, _COUNT_LOCK_TTL_S)
            return True


async def indexed_hours(redis: Redis) -> AsyncGenerator[list[tuple[str, str]]]:
    """(camera, `hour_text`) of all hours with indexed segments, in pages; an hour may come twice.

    SCANs all keys, of which a district has millions.
    """
    async for page in _scan(redis, f"{names.PREFIX}seg:*"):
        parsed = [names.parse_segments_key(key.decode(errors="replace")) for key in page]
        yield [one for one in parsed if one is not None]


async def _scan(redis: Redis, pattern: str) -> AsyncGenerator[list[bytes]]:
    cursor = 0
    while True:
        with translate_redis_errors("scanning the keys"):
            cursor, found = await redis.scan(cursor, match=pattern, count=_SCAN_COUNT)
        page = cast("list[bytes]", found)
        if page:
            yield page
        if not cursor:
            return
