"""Writing the index: operations → one Redis transaction with the offsets they stand for, or nothing at all."""
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
from districam_common.index import index_replies as replies
from districam_common.index.index_reader import parse_meta
from districam_common.index.redis_door import RedisAway, piped, read_hash
from districam_common.kafka import marks
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Partition
from districam_indexer.core.operations import Batch
from districam_indexer.core.progress import Place
from districam_indexer.counting import applied_field, stage_added, stage_moved

RAISE = """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
if not known or known < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
"""
"""HSET, never lowering."""

REPLACE_STILL = """
local known = tonumber(redis.call('HGET', KEYS[1], 'at_us') or '')
if not known or known < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'at_us', ARGV[1], 'width', ARGV[2], 'height', ARGV[3], 'jpeg', ARGV[4])
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
"""

THOUGH_FULL = """#!lua flags=allow-oom
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
"""
"""One command of a few bytes that is carried out even where Redis is at `maxmemory`."""

_OVERLAY = f"{names.PREFIX}overlay"
"""Lives within a transaction."""

_CONFLICTS = 20
"""Attempts that may be overtaken in a row; `dc1:meta` changes about once a second, during a rebuild only."""


Decide = Callable[[Mapping[Place, int], Mapping[int, int]], Mapping[int, int]]
"""(applied, logged) → partition of `fragments` → `log_us` to write."""


class IndexChanged(DistricamError):
    """The index is not the one that the caller has been writing: emptied, rebuilt, or set back by a restart of Redis.

    Read where it stands, seek there, and go on.
    """


class IndexWriter:
    """The only writer of what is indexed. Everything raises `Retriable` while Redis is in trouble."""

    def __init__(self, redis: Redis, *, still_ttl_s: int) -> None:
        self._redis = redis
        self._still_ttl_s = still_ttl_s

    async def apply(
        self,
        batch: Batch,
        *,
        build: str,
        moves: Mapping[Place, tuple[int, int]] | None = None,
        read: Mapping[Place, Sequence[Mark]] | None = None,
    ) -> None:
        """Writes the batch, and with it that the index holds everything below the new offsets.

        Args:
            batch: what to write.
            build: the index that it is meant for (`Meta.build`).
            moves: (topic, partition) → the offset up to which the caller had written, and the new one.
            read: (topic, partition) → which records the caller has read, the last one first.

        Raises:
            IndexChanged: nothing was written.
        """
        moves = moves or {}

        async def stage(pipe: Pipeline) -> None:
            await _expect(pipe, {place: before for place, (before, _) in moves.items()})
            pipe.multi()
            self._stage(pipe, batch)
            for place, (before, after) in moves.items():
                stage_moved(pipe, place, before, after)
            for place, ladder in (read or {}).items():
                pipe.hset(names.MARKS, applied_field(place), _text(ladder))

        await self.transact("writing to the index", build, stage)

    async def apply_though_full(self, batch: Batch, *, build: str) -> None:
        """Writes the batch's scored and plain members even where Redis is at `maxmemory`.

        For `expired` events: nothing leaves a full index before it is said that it has expired.

        Raises:
            IndexChanged: nothing was written.
        """

        async def stage(pipe: Pipeline) -> None:
            pipe.multi()
            for key, scored in batch.scored.items():
                for member, score in scored.items():
                    pipe.eval(THOUGH_FULL, 1, key, "ZADD", str(score), member)
            for key, members in batch.members.items():
                for member in members:
                    pipe.eval(THOUGH_FULL, 1, key, "SADD", member)

        await self.transact("writing to the index", build, stage)

    async def confirm(self, positions: Mapping[Place, int], *, build: str) -> None:
        """Nothing, if the index is that of `build` and holds everything below these offsets.

        Raises:
            IndexChanged: it is not, or does not.
        """
        async with piped(self._redis, "confirming the positions", transaction=True) as pipe:
            await pipe.watch(names.META)  # from here on, commands answer at once
            await _expect_build(pipe, build)
            await _expect(pipe, positions)

    async def start_at(
        self, positions: Mapping[Partition, int], read: Mapping[Partition, Sequence[Mark]], *, build: str
    ) -> None:
        """States from where on the caller will write; also for partitions that nothing is ever written to.

        `read`: what is known to be left of what was read before, the last one first.

        Raises:
            IndexChanged: nothing was written.
        """

        async def stage(pipe: Pipeline) -> None:
            pipe.multi()
            pipe.hset(names.APPLIED, mapping={applied_field(p): offset for p, offset in positions.items()})
            pipe.hset(names.MARKS, mapping={applied_field(p): _text(read.get(p, ())) for p in positions})

        if positions:
            await self.transact("stating positions", build, stage)

    async def applied(self) -> dict[Place, int]:
        """Next offset that the index does not hold yet, of each partition that was ever read."""
        found = await read_hash(self._redis, names.APPLIED, "reading the positions")
        return parse_applied(found)

    async def marks(self) -> dict[Place, tuple[Mark, ...]]:
        """Which records of each partition were applied, the last one first; see `districam_common.kafka.marks`."""
        found = await read_hash(self._redis, names.MARKS, "reading the marks")
        read = ((place_of(field), _marks(text)) for field, text in found.items())
        return {place: ladder for place, ladder in read if place is not None}

    async def log_reached(self, decide: Decide, *, build: str) -> None:
        """Raises `dc1:logged` to what `decide` says of what is applied and logged; never lowers it.

        Raises:
            IndexChanged: nothing was written.
        """

        async def stage(pipe: Pipeline) -> None:
            applied = await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(names.APPLIED))
            logged = await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(names.LOGGED))
            values = decide(parse_applied(applied), replies.numbers(logged, names.LOGGED))
            pipe.multi()
            for partition, log_us in values.items():
                pipe.eval(RAISE, 1, names.LOGGED, str(partition), str(log_us))

        await self.transact("writing how far the truth has got", build, stage)

    async def transact(self, what: str, build: str, stage: Callable[[Pipeline], Awaitable[None]]) -> None:
        """One transaction that holds only for `build`; repeated while `dc1:meta` changes under it."""
        for _ in range(_CONFLICTS):
            async with piped(self._redis, what, transaction=True) as pipe:
                await pipe.watch(names.META)
                await _expect_build(pipe, build)
                await stage(pipe)
                try:
                    await pipe.execute()
                except WatchError:
                    continue
                return
        raise RedisAway(f"Redis: {what}: overtaken {_CONFLICTS} times")

    def _stage(self, pipe: Pipeline, batch: Batch) -> None:
        for key, scored in batch.scored.items():
            if hour := names.parse_segments_key(key):
                stage_added(pipe, *hour, scored)
            else:
                pipe.zadd(key, scored)
        for key, raised in batch.raised.items():
            pipe.zadd(key, raised, gt=True)
        for key, fields in batch.fields.items():
            pipe.hset(key, mapping={**fields})
        for key, offsets in batch.bits.items():
            for offset in sorted(offsets, reverse=True):
                pipe.setbit(key, offset, 1)
        for key, bitmap in batch.bitmaps.items():
            pipe.set(_OVERLAY, bitmap)
            pipe.bitop("OR", key, key, _OVERLAY)
            pipe.delete(_OVERLAY)
        for key, members in batch.members.items():
            pipe.sadd(key, *members)
        for key, still in batch.stills.items():
            pipe.eval(
                REPLACE_STILL,
                1,
                key,
                str(still.at_us),
                str(still.width),
                str(still.height),
                still.jpeg,
                str(self._still_ttl_s),
            )


async def _expect_build(pipe: Pipeline, build: str) -> None:
    meta = parse_meta(await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(names.META)))
    if meta is None or meta.schema != names.SCHEMA or not meta.build or meta.build != build:
        raise IndexChanged("the index was emptied, or is built anew")


async def _expect(pipe: Pipeline, before: Mapping[Place, int]) -> None:
    """Redis must still hold all that the caller wrote: it may have come back from a crash without the last second."""
    written = {
        place: offset for place, offset in before.items() if offset
    }  # below 0 there is nothing to lose
    if not written:
        return
    fields = [applied_field(place) for place in written]
    found = await cast("Awaitable[list[bytes | None]]", pipe.hmget(names.APPLIED, fields))
    for field, offset, value in zip(fields, written.values(), found, strict=True):
        if (replies.number(value, names.APPLIED) or 0) < offset:
            raise IndexChanged(f"the index was set back: {field} is {value!r}, not {offset}")


def parse_applied(fields: Mapping[bytes, bytes]) -> dict[Place, int]:
    """`dc1:applied` as values."""
    found = ((place_of(field), replies.number(value, names.APPLIED)) for field, value in fields.items())
    return {place: offset for place, offset in found if place is not None and offset is not None}


def place_of(field: bytes) -> Place | None:
    """The inverse of `applied_field`; None of what is no place."""
    topic, _, partition = field.rpartition(b":")
    number = replies.number(partition, names.APPLIED)
    return None if number is None else (topic.decode(errors="replace"), number)


def _text(read: Sequence[Mark]) -> str:
    return json.dumps(marks.dumped(read), separators=(",", ":"))


def _marks(text: bytes) -> tuple[Mark, ...]:
    try:
        return marks.parsed(json.loads(text))
    except (ValueError, RecursionError):
        return ()
