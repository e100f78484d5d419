"""Reading the index in Redis. The api answers from it, the indexer computes its gauges from it."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

import json
from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import structlog
from redis.asyncio import Redis

from districam_common import index, names, wire
from districam_common.events import Camera, PartitionFell, StreamEvent
from districam_common.holds import Hold, HoldState, cached_form
from districam_common.index import SegmentArray
from districam_common.intervals import Interval, merge
from districam_common.ledger import Told
from districam_common.redis_door import open_redis, redis_errors
from districam_common.settings import RedisSettings

log = structlog.get_logger()

SCHEMA = "1"
"""Of the whole index; another one is rebuilt."""


@dataclass(frozen=True, slots=True)
class EpochShape:
    """What all segments of an epoch share; RFC 6381 codecs, pixels."""

    codecs: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """`dc1:meta`. Footage is answered for only when `state` is ready.

    Attributes:
        partitions: of `districam.fragments.v1`.
        build: changes whenever the index is built anew; empty while the old one is being cleared.
        progress: how far a rebuild is, for people.
    """

    site: str
    schema: str
    partitions: int
    state: Literal["ready", "rebuilding"]
    build: str
    progress: dict[str, Any]

    @property
    def is_ready(self) -> bool:
        return self.state == "ready" and self.schema == SCHEMA


AT = """
local found, step = {}, tonumber(ARGV[2])
for n = 1, #KEYS, step do
  found[#found + 1] = redis.call('ZRANGE', KEYS[n], 0, -1)
  local rows = {}
  for hour = n + 1, n + step - 1 do
    for _, one in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[hour], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', 0, 4)) do
      rows[#rows + 1] = one
    end
  end
  found[#found + 1] = rows
end
return found
"""
"""Of each camera what has expired, and the last segments that had begun by then."""

_REACH_US = 120_000_000
"""So early in an hour the segment may be filed under the hour before."""


@dataclass(frozen=True, slots=True)
class Instant:
    """What is seen of a camera at an instant by a glance; it may be stored although no glance shows it."""

    is_stored: bool
    is_expired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestStill:
    """The newest keyframe of a camera, at most a minute old."""

    jpeg: bytes
    at_us: int
    width: int
    height: int


class IndexReader:
    """The index as values. Every method raises `Retriable` when Redis is in trouble."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings) -> AsyncGenerator["IndexReader"]:
        async with open_redis(settings) as redis:
            yield cls(redis)

    async def ping(self) -> None:
        """Whether Redis answers."""
        with redis_errors("ping"):
            await self._redis.ping()

    async def meta(self) -> Meta | None:
        """What the index says of itself; None when there is none yet: nobody can tell what is stored."""
        with redis_errors("reading what the index says of itself"):
            fields = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(names.META))
        return parse_meta(fields)

    async def segments(self, camera_id: str, from_us: int, to_us: int) -> SegmentArray:
        """The camera's segments that touch [from_us, to_us), by start; one round trip, an hour at a time."""
        keys = [names.segments_key(camera_id, hour) for hour in names.hours(from_us, to_us)]
        with redis_errors("reading segments"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.execute_command("ZRANGE", key, 0, -1, "WITHSCORES")  # undecoded: a day has 9,000
                hours = cast("list[list[bytes]]", await pipe.execute())
        found = index.scored_segments(list(chain.from_iterable(hours)))
        found = found[(found["end_us"] > from_us) & (found["start_us"] < to_us)]
        return found[np.lexsort((found["first_seq"], found["start_us"]))]

    async def told(self, camera_id: str) -> list[Told]:
        """All stream events of the camera, in the order of `at_us`."""
        (members,) = await self._all_of([names.events_key(camera_id)])
        return list(_told(members))

    async def told_members(self, camera_id: str) -> list[tuple[bytes, Told]]:
        """The same, each with how it stands in the set."""
        (members,) = await self._all_of([names.events_key(camera_id)])
        return [(member, one) for member in members for one in _told([member])]

    async def expired(self, camera_ids: Sequence[str]) -> dict[str, list[Interval]]:
        """What retention has let go of, merged, by camera; one round trip."""
        found = await self._all_of([names.expired_key(camera_id) for camera_id in camera_ids])
        return {
            camera_id: merge(names.parse_interval(member) for member in members)
            for camera_id, members in zip(camera_ids, found, strict=True)
        }

    async def holds(self) -> dict[str, bytes]:
        """Hold id → the hold's JSON, of all in force."""
        return await self._texts(names.HOLDS)

    async def hold_states(self) -> dict[str, HoldState]:
        """Hold id → how far the indexer has come with it."""
        return {
            one: wire.parse(HoldState, state) for one, state in (await self._texts(names.HOLD_STATES)).items()
        }

    async def cache_hold(self, hold: Hold) -> None:
        """Has the hold listed at once; the indexer keeps the list equal to the bucket."""
        with redis_errors("caching a hold"):
            await self._redis.hset(names.HOLDS, hold.id, cached_form(hold))

    async def uncache_hold(self, hold_id: str) -> None:
        """The opposite; may be repeated."""
        with redis_errors("taking a hold off the list"):
            await self._redis.hdel(names.HOLDS, hold_id)

    async def _texts(self, key: str) -> dict[str, bytes]:
        with redis_errors("reading the holds"):
            found = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(key))
        return {name.decode(): value for name, value in found.items()}

    async def recent(self, camera_ids: Sequence[str], most: int = 64) -> dict[str, list[Told]]:
        """Each camera's last stream events, in the order of `at_us`; one round trip."""
        keys = [names.events_key(camera_id) for camera_id in camera_ids]
        found = await self._all_of(keys, start=-most)
        return {camera_id: list(_told(members)) for camera_id, members in zip(camera_ids, found, strict=True)}

    async def fell(self, partition: int) -> list[PartitionFell]:
        """What is known to have fallen off that partition of `fragments` before it was stored."""
        (members,) = await self._all_of([names.fell_key(partition)])
        events = [event for event, _ in _events(members)]
        return [event for event in events if isinstance(event, PartitionFell)]

    async def fell_of(self, camera_id: str) -> list[PartitionFell]:
        """`fell` of the camera's partition."""
        meta = await self.meta()
        return [] if meta is None else await self.fell(names.partition_of(camera_id, meta.partitions))

    async def log_us(self, camera_id: str) -> int:
        """How far the truth has got for this camera: everything up to it is stored and indexed; 0: not known yet."""
        meta = await self.meta()
        if meta is None:
            return 0
        partition = names.partition_of(camera_id, meta.partitions)
        with redis_errors("reading how far the truth has got"):
            found = await cast("Awaitable[bytes | None]", self._redis.hget(names.LOGGED, str(partition)))
        return 0 if found is None else int(found)

    async def logged(self) -> dict[int, int]:
        """Partition of `fragments` → `log_us`, of all that are known."""
        with redis_errors("reading how far the truth has got"):
            found = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(names.LOGGED))
        return {int(partition): int(log_us) for partition, log_us in found.items()}

    async def camera_ids(self) -> set[str]:
        """Every camera ever indexed, whether or not its record is known."""
        with redis_errors("reading the camera ids"):
            found = await cast("Awaitable[set[bytes]]", self._redis.smembers(names.CAMERA_IDS))
        return {camera_id.decode() for camera_id in found}

    async def revisions(self, camera_id: str) -> list[Camera]:
        """All revisions of the camera's record, oldest first."""
        (members,) = await self._all_of([names.camera_key(camera_id)])
        return [_camera(member) for member in members]

    async def cameras(self) -> dict[str, Camera]:
        """The newest revision of every camera's record, deleted ones included, by id.

        One that cannot be read is left out and logged: it must not hide the others.
        """
        ids = sorted(await self.camera_ids())
        newest = await self._all_of([names.camera_key(camera_id) for camera_id in ids], start=-1)
        return dict(_records((ids[n], found[-1]) for n, found in enumerate(newest) if found))

    async def epochs(self, camera_id: str, from_us: int, to_us: int) -> dict[str, EpochShape]:
        """Shapes of the epochs of segments that touch [from_us, to_us); more than those may be in it."""
        hours = names.hours(from_us, to_us)
        keys = list(dict.fromkeys(names.epochs_key(camera_id, hour) for hour in hours))
        with redis_errors("reading the epochs' shapes"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hgetall(key)
                days = cast("list[dict[bytes, bytes]]", await pipe.execute())
        return {epoch.decode(): wire.parse(EpochShape, shape) for day in days for epoch, shape in day.items()}

    async def latest(self) -> dict[str, int]:
        """Camera → end of its newest segment, µs UTC."""
        (rows,) = cast(
            "list[list[tuple[bytes, float]]]", await self._all_of([names.LATEST], with_scores=True)
        )
        return {camera_id.decode(): int(end_us) for camera_id, end_us in rows}

    async def still(self, camera_id: str) -> LatestStill | None:
        """The newest still, or None when there is none of the last minute."""
        with redis_errors("reading a still"):
            found = await cast(
                "Awaitable[dict[bytes, bytes]]", self._redis.hgetall(names.still_key(camera_id))
            )
        if not found:
            return None
        return LatestStill(
            jpeg=found[b"jpeg"],
            at_us=int(found[b"at_us"]),
            width=int(found[b"width"]),
            height=int(found[b"height"]),
        )

    async def days(self, camera_ids: Sequence[str], from_us: int, to_us: int) -> dict[str, list[bytes]]:
        """By camera the day bitmaps (bit = 10 s slot, first bit highest) of each UTC day that [from_us, to_us) touches."""
        first, last = from_us // names.DAY_US, (to_us - 1) // names.DAY_US
        texts = [names.day_text(day * names.DAY_US) for day in range(first, last + 1)]
        keys = [names.day_key_of(camera_id, text) for camera_id in camera_ids for text in texts]
        with redis_errors("reading day bitmaps"):
            found = cast("list[bytes | None]", await self._redis.mget(keys)) if keys else []
        bitmaps = [bitmap or b"" for bitmap in found]
        count = len(texts)
        return {one: bitmaps[n * count : (n + 1) * count] for n, one in enumerate(camera_ids)}

    async def at(self, camera_ids: Sequence[str], at_us: int) -> dict[str, Instant]:
        """What a look at one instant shows, by camera; one round trip for all."""
        hours = [at_us] if at_us % names.HOUR_US >= _REACH_US else [at_us, at_us - names.HOUR_US]
        keys = [
            key
            for camera_id in camera_ids
            for key in (
                names.expired_key(camera_id),
                *(names.segments_key(camera_id, hour) for hour in hours),
            )
        ]
        with redis_errors("looking at an instant"):
            found = await cast(
                "Awaitable[list[list[bytes]]]",
                self._redis.eval(AT, len(keys), *keys, str(at_us), str(1 + len(hours))),
            )
        return {
            camera_id: _instant(found[2 * n], found[2 * n + 1], at_us)
            for n, camera_id in enumerate(camera_ids)
        }

    async def _all_of(
        self, keys: Sequence[str], *, start: int = 0, with_scores: bool = False
    ) -> list[list[Any]]:
        """Each sorted set's members from rank `start` on, in one round trip."""
        with redis_errors("reading the index"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.zrange(key, start, -1, withscores=with_scores)
                return await pipe.execute()


def _records(members: Iterable[tuple[str, bytes]]) -> Iterable[tuple[str, Camera]]:
    for camera_id, member in members:
        try:
            yield camera_id, _camera(member)
        except wire.WireError as error:
            log.warning("indexed camera left out", camera_id=camera_id, why=str(error))


@lru_cache(maxsize=4096)
def _camera(member: bytes) -> Camera:
    """A revision never changes, and each question reads them all."""
    return wire.parse(Camera, member)


@lru_cache(maxsize=1 << 17)
def _event(member: bytes) -> tuple[StreamEvent, int | None]:
    """Nor does an event; a camera has thousands in a month."""
    return wire.parse_indexed(member)


def _events(members: Iterable[bytes]) -> Iterable[tuple[StreamEvent, int | None]]:
    for member in members:
        try:
            yield _event(member)
        except wire.WireError as error:
            log.warning("indexed event left out", why=str(error))


def _told(members: Iterable[bytes]) -> Iterable[Told]:
    for event, appended_us in _events(members):
        if not isinstance(event, PartitionFell):
            yield Told(event, appended_us)


def _instant(expired: Sequence[bytes], rows: Sequence[bytes], at_us: int) -> Instant:
    ends = (
        int(float(at)) + index.duration_us(member) for member, at in zip(rows[::2], rows[1::2], strict=True)
    )
    gone = (names.parse_interval(member) for member in expired)
    return Instant(any(at_us < end_us for end_us in ends), any(a <= at_us < b for a, b in gone))


def parse_meta(fields: dict[bytes, bytes]) -> Meta | None:
    """`dc1:meta` as a value; None for an absent or unfinished one."""
    text = {name.decode(): value.decode() for name, value in fields.items()}
    if not {"site", "schema", "partitions", "state"} <= text.keys():
        return None
    return Meta(
        site=text["site"],
        schema=text["schema"],
        partitions=int(text["partitions"]),
        state="ready" if text["state"] == "ready" else "rebuilding",
        build=text.get("build", ""),
        progress=json.loads(text.get("progress", "{}")),
    )
