"""Removes deleted segments from the index: an hour of a camera at a time, in one transaction."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from districam_common.contract import names, segment_array
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.contract.segment_array import IndexEntry
from districam_common.index.index_codec import is_valid_segment, parse_interval_members
from districam_common.index.redis_client import translate_redis_errors
from districam_indexer.core.retention import redundant_ranges
from districam_indexer.index_store.index_writer import IndexWriter
from districam_indexer.index_store.usage_scripts import queue_count_hours

CLEAR_BITS_LUA = """#!lua flags=allow-oom
for n = 1, #ARGV do redis.call('SETBIT', KEYS[1], ARGV[n], 0) end
local left = redis.call('GET', KEYS[1])
if not left then return end
local length = #left
while length > 0 and left:byte(length) == 0 do length = length - 1 end
if length == 0 then redis.call('DEL', KEYS[1])
elseif length < #left then redis.call('SET', KEYS[1], left:sub(1, length)) end
"""
"""Clears bits and trims trailing zero bytes, so that the bitmap equals that of a rebuilt index. Runs also at
`maxmemory`: if a script of a transaction is refused, the other commands are executed nevertheless. """

ShouldEvict = Callable[[IndexEntry], bool]


class Evictor:
    """Removes segments and events. All methods raise `Retriable` while Redis is unavailable."""

    def __init__(self, redis: Redis, writer: IndexWriter) -> None:
        self._redis = redis
        self._writer = writer

    async def evict(self, camera_id: str, hour_us: int, should_evict: ShouldEvict, *, build: str) -> int:
        """Removes the hour's segments chosen by `should_evict`, and the bits and epochs that only they set.

        Returns their number.

        Raises:
            IndexChanged: nothing was written.
        """
        evicted = 0

        async def queue_commands(pipe: Pipeline) -> None:
            nonlocal evicted
            first_us = hour_us // DAY_US * DAY_US
            hours = [first_us + n * HOUR_US for n in range(-1, 25)]
            keys = [names.segments_key(camera_id, at_us) for at_us in hours]
            await pipe.watch(*keys)
            found = {at_us: await _read_members(pipe, key) for at_us, key in zip(hours, keys, strict=True)}
            to_evict = [(member, one) for member, one in found[hour_us] if should_evict(one)]
            evicted = len(to_evict)
            pipe.multi()
            if to_evict:
                evicted_members = {member for member, _ in to_evict}
                remaining = [one for some in found.values() for member, one in some if member not in evicted_members]
                pipe.zrem(names.segments_key(camera_id, hour_us), *evicted_members)
                _queue_evict(pipe, camera_id, [one for _, one in to_evict], remaining)
            queue_count_hours(pipe, [(camera_id, names.format_hour(hour_us))])

        await self._writer.transact("evicting an hour", build, queue_commands)
        return evicted

    async def evict_events(self, camera_id: str, members: Iterable[bytes]) -> None:
        """Removes events from the camera's set, and expired intervals that are covered by others."""
        key = names.expired_key(camera_id)
        with translate_redis_errors("evicting events"):
            found = await cast("Awaitable[list[bytes]]", self._redis.zrange(key, 0, -1))
            by_range = {interval: member for member, interval in parse_interval_members(found, key)}
            redundant = [by_range[one] for one in redundant_ranges(by_range)]
            async with self._redis.pipeline() as pipe:
                for chunk in _chunks(list(members), 500):
                    pipe.zrem(names.events_key(camera_id), *chunk)
                if redundant:
                    pipe.zrem(key, *redundant)
                await pipe.execute()


def _queue_evict(
    pipe: Pipeline, camera_id: str, evicted: Sequence[IndexEntry], remaining: Sequence[IndexEntry]
) -> None:
    """Queues clearing the bits that only these segments set, and the parameters of epochs that have none left."""
    kept = _slots_by_day(remaining)
    for day_us, bits in _slots_by_day(evicted).items():
        unused = sorted(bits - kept.get(day_us, set()))
        if unused:
            pipe.eval(CLEAR_BITS_LUA, 1, names.day_key(camera_id, day_us), *[str(bit) for bit in unused])
    day_us = evicted[0].start_us // DAY_US
    epochs = {one.epoch for one in evicted} - {one.epoch for one in remaining if one.start_us // DAY_US == day_us}
    if epochs:
        pipe.hdel(names.epochs_key(camera_id, evicted[0].start_us), *epochs)


def _slots_by_day(entries: Iterable[IndexEntry]) -> dict[int, set[int]]:
    by_day: dict[int, set[int]] = {}
    for one in entries:
        for day_us, bits in names.slots(one.start_us, one.end_us):
            by_day.setdefault(day_us, set()).update(bits)
    return by_day


async def _read_members(pipe: Pipeline, key: str) -> list[tuple[bytes, IndexEntry]]:
    found = await cast("Awaitable[list[tuple[bytes, float]]]", pipe.zrange(key, 0, -1, withscores=True))
    rows = [(member, at) for member, at in found if is_valid_segment(member, at)]
    members = [member for member, _ in rows]
    return list(
        zip(
            members,
            segment_array.entries_from_array(segment_array.decode_members(members, [at for _, at in rows])),
            strict=True,
        )
    )


def _chunks(members: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    return (members[n : n + size] for n in range(0, len(members), size))
