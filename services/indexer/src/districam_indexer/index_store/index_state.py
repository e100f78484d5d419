"""Lifecycle of the index (cleared, rebuilding, ready), and the lock of the rebuild."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import json
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import WatchError

from districam_common.contract import names
from districam_common.index.index_reader import Meta, parse_meta
from districam_common.index.redis_client import open_pipeline, translate_redis_errors
from districam_common.kafka.records import Partition
from districam_indexer.index_store.index_writer import IndexChanged
from districam_indexer.index_store.usage_scripts import position_field

REBUILD_LOCK = f"{names.PREFIX}rebuilder"
"""Lock with expiry: the instance that rebuilds."""


_CLEARED_PATTERNS = tuple(
    f"{names.PREFIX}{kind}:*"
    for kind in ("seg", "epoch", "day", "events", "expired", "fell", "cameras", "used", "rebuilt")
)
_SCAN_COUNT = 1000


class IndexState:
    """Reads and writes `dc1:meta`. All methods raise `Retriable` while Redis is unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def acquire_rebuild_lock(self, instance: str, ttl_s: int) -> bool:
        """Takes or renews the rebuild lock for `ttl_s`; False if another instance holds it."""
        with translate_redis_errors("acquiring the rebuild lock"):
            if await self._redis.set(REBUILD_LOCK, instance, nx=True, ex=ttl_s):
                return True
            if await self._redis.get(REBUILD_LOCK) != instance.encode():
                return False
            await self._redis.expire(REBUILD_LOCK, ttl_s)
            return True

    async def release_rebuild_lock(self, instance: str) -> None:
        """Releases the rebuild lock if this instance holds it."""
        with translate_redis_errors("releasing the rebuild lock"):
            if await self._redis.get(REBUILD_LOCK) == instance.encode():
                await self._redis.delete(REBUILD_LOCK)

    async def clear(self, *, site: str, partitions: int) -> None:
        """Marks the index as not readable or writable, then deletes all of it except holds and stills."""
        with translate_redis_errors("clearing the index"):
            async with self._redis.pipeline() as pipe:
                pipe.delete(names.WATERMARKS, names.USAGE_POSITION)
                pipe.hset(
                    names.META,
                    mapping={
                        "site": site,
                        "schema": names.SCHEMA,
                        "partitions": partitions,
                        "state": "rebuilding",
                        "build": "",
                        "progress": "{}",
                    },
                )
                await pipe.execute()
            for pattern in _CLEARED_PATTERNS:
                await self._unlink(pattern)
            own = (names.APPLIED, names.MARKS, names.LATEST, names.CAMERA_IDS, names.USAGE)
            await self._redis.delete(*own)

    async def delete_schema(self, schema: str) -> int:
        """Deletes all keys of another schema's index; returns their number."""
        with translate_redis_errors("removing an index"):
            return await self._unlink(f"{names.prefix_of(schema)}*")

    async def _unlink(self, pattern: str) -> int:
        count, found = 0, list[bytes]()
        async for key in self._redis.scan_iter(match=pattern, count=_SCAN_COUNT):
            found.append(cast("bytes", key))
            if len(found) >= _SCAN_COUNT:
                count += await self._redis.unlink(*found)
                found.clear()
        return count + (await self._redis.unlink(*found) if found else 0)

    async def begin(self, build: str, positions: Mapping[Partition, int]) -> None:
        """Opens a new index for writing: sets its `build` and the offsets from which the topics are read."""
        async with open_pipeline(self._redis, "beginning an index", transaction=True) as pipe:
            if positions:
                fields = {position_field(partition): offset for partition, offset in positions.items()}
                pipe.hset(names.APPLIED, mapping={**fields})
            pipe.hset(names.META, "build", build)
            await pipe.execute()

    async def write_progress(self, progress: Mapping[str, Any], *, build: str) -> None:
        """Writes the rebuild's progress.

        Raises:
            IndexChanged: the index is no longer that of `build`.
        """
        await self._write_meta(build, {"progress": json.dumps(progress, separators=(",", ":"))})

    async def finish(self, *, build: str) -> None:
        """Marks the index as ready.

        Raises:
            IndexChanged: the index is no longer that of `build`.
        """
        await self._write_meta(build, {"state": "ready", "progress": "{}"})
        with translate_redis_errors("finishing an index"):
            await self._redis.delete(rebuilt_key(build))

    async def rebuilt_prefixes(self, *, build: str) -> set[str]:
        """Prefixes of the bucket that are already read into the index `build`, by any instance."""
        with translate_redis_errors("reading the rebuild's progress"):
            found = await cast("Awaitable[set[bytes]]", self._redis.smembers(rebuilt_key(build)))
        return {prefix.decode(errors="replace") for prefix in found}

    async def _write_meta(self, build: str, fields: Mapping[str, str]) -> None:
        async with open_pipeline(self._redis, "writing the state of the index", transaction=True) as pipe:
            await pipe.watch(names.META)
            meta = parse_meta(await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(names.META)))
            if meta is None or meta.build != build:
                raise IndexChanged("the index was emptied or is being rebuilt")
            pipe.multi()
            pipe.hset(names.META, mapping={**fields})
            try:
                await pipe.execute()
            except WatchError as error:
                raise IndexChanged("the index was emptied or is being rebuilt") from error


def rebuilt_key(build: str) -> str:
    """Key of the set of prefixes that are read into the index `build`."""
    return f"{names.PREFIX}rebuilt:{build}"


def is_writable(meta: Meta | None) -> bool:
    """Whether there is an index of our schema that is open for writing."""
    return meta is not None and meta.schema == names.SCHEMA and meta.build != ""
