"""Taking out of the index what retention has deleted: an hour of a camera at a time, in one transaction."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from districam_common.contract import index, names
from districam_common.contract.index import IndexEntry
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.index.index_replies import intervals, is_segment
from districam_common.index.redis_door import redis_errors
from districam_indexer.core.retention import repeated
from districam_indexer.counting import stage_count
from districam_indexer.index_writer import IndexWriter

CLEAR_BITS = """#!lua flags=allow-oom
for n = 1, #ARGV do redis.call('SETBIT', KEYS[1], ARGV[n], 0) end
local left = redis.call('GET', KEYS[1])
if not left then return end
local length = #left
while length > 0 and left:byte(length) == 0 do length = length - 1 end
if length == 0 then redis.call('DEL', KEYS[1])
elseif length < #left then redis.call('SET', KEYS[1], left:sub(1, length)) end
"""
"""Leaves the bitmap as if these bits had never been set: an index built anew is the same.

Allowed while Redis is full: in a transaction, a script that is refused leaves the commands beside it done.
"""

IsOver = Callable[[IndexEntry], bool]


class Dropper:
    """Everything raises `Retriable` while Redis is in trouble."""

    def __init__(self, redis: Redis, writer: IndexWriter) -> None:
        self._redis = redis
        self._writer = writer

    async def drop(self, camera_id: str, hour_us: int, is_over: IsOver, *, build: str) -> int:
        """Takes out the segments of that hour that are over, with all that only they had set; gives how many.

        Raises:
            IndexChanged: nothing was written.
        """
        dropped = 0

        async def stage(pipe: Pipeline) -> None:
            nonlocal dropped
            first_us = hour_us // DAY_US * DAY_US
            hours = [first_us + n * HOUR_US for n in range(-1, 25)]
            keys = [names.segments_key(camera_id, at_us) for at_us in hours]
            await pipe.watch(*keys)
            found = {at_us: await _members(pipe, key) for at_us, key in zip(hours, keys, strict=True)}
            over = [(member, one) for member, one in found[hour_us] if is_over(one)]
            dropped = len(over)
            pipe.multi()
            if over:
                gone = {member for member, _ in over}
                rest = [one for some in found.values() for member, one in some if member not in gone]
                pipe.zrem(names.segments_key(camera_id, hour_us), *gone)
                _forget(pipe, camera_id, [one for _, one in over], rest)
            stage_count(pipe, [(camera_id, names.hour_text(hour_us))])

        await self._writer.transact("dropping an hour", build, stage)
        return dropped

    async def forget_events(self, camera_id: str, members: Iterable[bytes]) -> None:
        """Takes events out of the camera's set, and of its expired ranges those that others say already."""
        key = names.expired_key(camera_id)
        with redis_errors("trimming events"):
            found = await cast("Awaitable[list[bytes]]", self._redis.zrange(key, 0, -1))
            by_range = {interval: member for member, interval in intervals(found, key)}
            needless = [by_range[one] for one in repeated(by_range)]
            async with self._redis.pipeline() as pipe:
                for chunk in _chunks(list(members), 500):
                    pipe.zrem(names.events_key(camera_id), *chunk)
                if needless:
                    pipe.zrem(key, *needless)
                await pipe.execute()


def _forget(pipe: Pipeline, camera_id: str, over: Sequence[IndexEntry], rest: Sequence[IndexEntry]) -> None:
    """The slots that only these segments touched, and the shapes of epochs that nothing of the day is left of."""
    kept = _slots(rest)
    for day_us, bits in _slots(over).items():
        free = sorted(bits - kept.get(day_us, set()))
        if free:
            pipe.eval(CLEAR_BITS, 1, names.day_key(camera_id, day_us), *[str(bit) for bit in free])
    day_us = over[0].start_us // DAY_US
    epochs = {one.epoch for one in over} - {one.epoch for one in rest if one.start_us // DAY_US == day_us}
    if epochs:
        pipe.hdel(names.epochs_key(camera_id, over[0].start_us), *epochs)


def _slots(entries: Iterable[IndexEntry]) -> dict[int, set[int]]:
    out: dict[int, set[int]] = {}
    for one in entries:
        for day_us, bits in names.slots(one.start_us, one.end_us):
            out.setdefault(day_us, set()).update(bits)
    return out


async def _members(pipe: Pipeline, key: str) -> list[tuple[bytes, IndexEntry]]:
    found = await cast("Awaitable[list[tuple[bytes, float]]]", pipe.zrange(key, 0, -1, withscores=True))
    rows = [(member, at) for member, at in found if is_segment(member, at)]
    members = [member for member, _ in rows]
    return list(zip(members, index.entries(index.segments(members, [at for _, at in rows])), strict=True))


def _chunks(members: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    return (members[n : n + size] for n in range(0, len(members), size))
