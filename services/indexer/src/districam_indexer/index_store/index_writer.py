"""Writes operations to the index, in one Redis transaction with the Kafka offsets that they result from."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import WatchError

from districam_common.contract import names
from districam_common.errors import DistricamError
from districam_common.index import index_codec as replies
from districam_common.index.index_reader import parse_meta
from districam_common.index.redis_client import RedisUnavailable, open_pipeline, read_hash
from districam_common.kafka import marks
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Partition
from districam_indexer.core.operations import Batch
from districam_indexer.core.progress import TopicPartition
from districam_indexer.index_store.usage_scripts import position_field, queue_add_segments, queue_advance_position

RAISE_FIELD_LUA = """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
if not known or known < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
"""
"""HSET of a number, unless the present one is greater or equal."""

REPLACE_STILL_LUA = """
local known = tonumber(redis.call('HGET', KEYS[1], 'at_us') or '')
if not known or known < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'at_us', ARGV[1], 'width', ARGV[2], 'height', ARGV[3], 'jpeg', ARGV[4])
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
"""

RUN_WHEN_FULL_LUA = """#!lua flags=allow-oom
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
"""
"""Runs one command even if Redis is at `maxmemory`: `allow-oom` exempts a script from the limit."""

_OVERLAY_KEY = f"{names.PREFIX}overlay"
"""Temporary key: exists only within a transaction."""

_MAX_CONFLICTS = 20
"""Failed attempts of one transaction; `dc1:meta` changes about once a second, during a rebuild only."""


ComputeWatermarks = Callable[[Mapping[TopicPartition, int], Mapping[int, int]], Mapping[int, int]]
"""(applied offsets, present watermarks) → partition of `fragments` → `log_us` to write."""


class IndexChanged(DistricamError):
    """The index is not the one that the caller wrote: emptied, rebuilt, or set back by a restart of Redis.

    The caller must read the positions of the index again and resume there.
    """


class IndexWriter:
    """The only writer of indexed data. All methods raise `Retriable` while Redis is unavailable."""

    def __init__(self, redis: Redis, *, still_ttl_s: int) -> None:
        self._redis = redis
        self._still_ttl_s = still_ttl_s

    async def apply(
        self,
        batch: Batch,
        *,
        build: str,
        offset_changes: Mapping[TopicPartition, tuple[int, int]] | None = None,
        read_marks: Mapping[TopicPartition, Sequence[Mark]] | None = None,
    ) -> None:
        """Writes the batch and the new applied offsets.

        Args:
            batch: the operations.
            build: the index that they are for (`Meta.build`).
            offset_changes: (topic, partition) → the caller's previous offset, and the new one.
            read_marks: (topic, partition) → marks of the records that the caller has read, last one first.

        Raises:
            IndexChanged: nothing was written.
        """
        offset_changes = offset_changes or {}

        async def queue_commands(pipe: Pipeline) -> None:
            await _require_positions(pipe, {partition: before for partition, (before, _) in offset_changes.items()})
            pipe.multi()
            self._queue_batch(pipe, batch)
            for partition, (before, after) in offset_changes.items():
                queue_advance_position(pipe, partition, before, after)
            for partition, partition_marks in (read_marks or {}).items():
                pipe.hset(names.MARKS, position_field(partition), _encode_marks(partition_marks))

        await self.transact("writing to the index", build, queue_commands)

    async def apply_when_full(self, batch: Batch, *, build: str) -> None:
        """Writes the batch's scored and plain members even if Redis is at `maxmemory`.

        For `expired` events, which must be indexed before their footage is removed from a full index.

        Raises:
            IndexChanged: nothing was written.
        """

        async def queue_commands(pipe: Pipeline) -> None:
            pipe.multi()
            for key, scored in batch.scored.items():
                for member, score in scored.items():
                    pipe.eval(RUN_WHEN_FULL_LUA, 1, key, "ZADD", str(score), member)
            for key, members in batch.members.items():
                for member in members:
                    pipe.eval(RUN_WHEN_FULL_LUA, 1, key, "SADD", member)

        await self.transact("writing to the index", build, queue_commands)

    async def verify_positions(self, positions: Mapping[TopicPartition, int], *, build: str) -> None:
        """Checks that the index is that of `build` and holds everything below these offsets.

        Raises:
            IndexChanged: it is not, or it does not.
        """
        async with open_pipeline(self._redis, "verifying the positions", transaction=True) as pipe:
            await pipe.watch(names.META)  # a watching pipeline of redis-py executes commands immediately
            await _require_build(pipe, build)
            await _require_positions(pipe, positions)

    async def set_positions(
        self, positions: Mapping[Partition, int], read_marks: Mapping[Partition, Sequence[Mark]], *, build: str
    ) -> None:
        """Sets the offsets from which the caller will write, also for partitions without records.

        `read_marks`: those of earlier reads that the log still has, the last one first.

        Raises:
            IndexChanged: nothing was written.
        """

        async def queue_commands(pipe: Pipeline) -> None:
            pipe.multi()
            pipe.hset(names.APPLIED, mapping={position_field(p): offset for p, offset in positions.items()})
            pipe.hset(names.MARKS, mapping={position_field(p): _encode_marks(read_marks.get(p, ())) for p in positions})

        if positions:
            await self.transact("setting the positions", build, queue_commands)

    async def read_positions(self) -> dict[TopicPartition, int]:
        """The next offset to apply, for each partition that was ever read."""
        found = await read_hash(self._redis, names.APPLIED, "reading the positions")
        return parse_positions(found)

    async def read_marks(self) -> dict[TopicPartition, tuple[Mark, ...]]:
        """Marks of each partition's applied records, last one first; see `districam_common.kafka.marks`."""
        found = await read_hash(self._redis, names.MARKS, "reading the marks")
        read = ((parse_position_field(field), _decode_marks(text)) for field, text in found.items())
        return {partition: partition_marks for partition, partition_marks in read if partition is not None}

    async def advance_watermarks(self, compute: ComputeWatermarks, *, build: str) -> None:
        """Raises the watermarks (`dc1:logged`) to what `compute` returns; never lowers one.

        Raises:
            IndexChanged: nothing was written.
        """

        async def queue_commands(pipe: Pipeline) -> None:
            applied = await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(names.APPLIED))
            watermarks = await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(names.WATERMARKS))
            values = compute(parse_positions(applied), replies.parse_numbers(watermarks, names.WATERMARKS))
            pipe.multi()
            for partition, log_us in values.items():
                pipe.eval(RAISE_FIELD_LUA, 1, names.WATERMARKS, str(partition), str(log_us))

        await self.transact("writing the watermarks", build, queue_commands)

    async def transact(
        self, description: str, build: str, queue_commands: Callable[[Pipeline], Awaitable[None]]
    ) -> None:
        """Runs one transaction on the index `build`; retries while `dc1:meta` changes during it."""
        for _ in range(_MAX_CONFLICTS):
            async with open_pipeline(self._redis, description, transaction=True) as pipe:
                await pipe.watch(names.META)
                await _require_build(pipe, build)
                await queue_commands(pipe)
                try:
                    await pipe.execute()
                except WatchError:
                    continue
                return
        raise RedisUnavailable(f"Redis: {description}: {_MAX_CONFLICTS} conflicts with other writers in a row")

    def _queue_batch(self, pipe: Pipeline, batch: Batch) -> None:
        for key, scored in batch.scored.items():
            if hour := names.parse_segments_key(key):
                queue_add_segments(pipe, *hour, scored)
            else:
                pipe.zadd(key, scored)
        for key, raised in batch.max_scores.items():
            pipe.zadd(key, raised, gt=True)
        for key, fields in batch.fields.items():
            pipe.hset(key, mapping={**fields})
        for key, offsets in batch.bits.items():
            for offset in sorted(offsets, reverse=True):
                pipe.setbit(key, offset, 1)
        for key, bitmap in batch.bitmaps.items():
            pipe.set(_OVERLAY_KEY, bitmap)
            pipe.bitop("OR", key, key, _OVERLAY_KEY)
            pipe.delete(_OVERLAY_KEY)
        for key, members in batch.members.items():
            pipe.sadd(key, *members)
        for key, still in batch.stills.items():
            pipe.eval(
                REPLACE_STILL_LUA,
                1,
                key,
                str(still.at_us),
                str(still.width),
                str(still.height),
                still.jpeg,
                str(self._still_ttl_s),
            )


async def _require_build(pipe: Pipeline, build: str) -> None:
    meta = parse_meta(await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(names.META)))
    if meta is None or meta.schema != names.SCHEMA or not meta.build or meta.build != build:
        raise IndexChanged("the index was emptied or is being rebuilt")


async def _require_positions(pipe: Pipeline, positions: Mapping[TopicPartition, int]) -> None:
    """Raises IndexChanged if Redis holds less than the caller wrote: a crash may lose its last second."""
    written = {
        partition: offset for partition, offset in positions.items() if offset
    }  # at offset 0, nothing was written
    if not written:
        return
    fields = [position_field(partition) for partition in written]
    found = await cast("Awaitable[list[bytes | None]]", pipe.hmget(names.APPLIED, fields))
    for field, offset, value in zip(fields, written.values(), found, strict=True):
        if (replies.parse_number(value, names.APPLIED) or 0) < offset:
            raise IndexChanged(f"the index was set back: {field} is {value!r}, not {offset}")


def parse_positions(fields: Mapping[bytes, bytes]) -> dict[TopicPartition, int]:
    """Decodes `dc1:applied`; ignores invalid fields."""
    found = (
        (parse_position_field(field), replies.parse_number(value, names.APPLIED)) for field, value in fields.items()
    )
    return {partition: offset for partition, offset in found if partition is not None and offset is not None}


def parse_position_field(field: bytes) -> TopicPartition | None:
    """The inverse of `position_field`; None if invalid."""
    topic, _, partition = field.rpartition(b":")
    number = replies.parse_number(partition, names.APPLIED)
    return None if number is None else (topic.decode(errors="replace"), number)


def _encode_marks(read_marks: Sequence[Mark]) -> str:
    return json.dumps(marks.encode_marks(read_marks), separators=(",", ":"))


def _decode_marks(text: bytes) -> tuple[Mark, ...]:
    try:
        return marks.decode_marks(json.loads(text))
    except (ValueError, RecursionError):
        return ()
