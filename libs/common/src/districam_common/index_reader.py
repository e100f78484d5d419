"""Reading the index in Redis. The api answers from it, the indexer computes its gauges from it."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

import json
from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import structlog
from redis.asyncio import Redis

from districam_common import index, names, wire
from districam_common.events import Camera, PartitionFell
from districam_common.index import SegmentArray
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
        hours = cast("list[list[tuple[bytes, float]]]", await self._all_of(keys, with_scores=True))
        rows = [row for hour in hours for row in hour]
        found = index.segments([member for member, _ in rows], [score for _, score in rows])
        found = found[(found["end_us"] > from_us) & (found["start_us"] < to_us)]
        return found[np.lexsort((found["first_seq"], found["start_us"]))]

    async def told(self, camera_id: str) -> list[Told]:
        """All stream events of the camera, in the order of `at_us`."""
        (members,) = await self._all_of([names.events_key(camera_id)])
        return list(_told(members))

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
        return [wire.parse(Camera, member) for member in members]

    async def cameras(self) -> dict[str, Camera]:
        """The newest revision of every camera's record, deleted ones included, by id."""
        ids = sorted(await self.camera_ids())
        newest = await self._all_of([names.camera_key(camera_id) for camera_id in ids], start=-1)
        return {
            camera_id: wire.parse(Camera, found[-1])
            for camera_id, found in zip(ids, newest, strict=True)
            if found
        }

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

    async def days(self, camera_id: str, from_us: int, to_us: int) -> list[bytes]:
        """The day bitmaps (bit = 10 s slot, first bit highest) of each UTC day that [from_us, to_us) touches."""
        first, last = from_us // names.DAY_US, (to_us - 1) // names.DAY_US
        with redis_errors("reading day bitmaps"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for day in range(first, last + 1):
                    pipe.get(names.day_key(camera_id, day * names.DAY_US))
                found = cast("list[bytes | None]", await pipe.execute())
        return [bitmap or b"" for bitmap in found]

    async def _all_of(
        self, keys: Sequence[str], *, start: int = 0, with_scores: bool = False
    ) -> list[list[Any]]:
        """Each sorted set's members from rank `start` on, in one round trip."""
        with redis_errors("reading the index"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.zrange(key, start, -1, withscores=with_scores)
                return await pipe.execute()


def _events(members: Iterable[bytes]) -> Iterable[tuple[Any, int | None]]:
    for member in members:
        try:
            yield wire.parse_indexed(member)
        except wire.WireError as error:
            log.warning("indexed event left out", why=str(error))


def _told(members: Iterable[bytes]) -> Iterable[Told]:
    for event, appended_us in _events(members):
        if not isinstance(event, PartitionFell):
            yield Told(event, appended_us)


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
