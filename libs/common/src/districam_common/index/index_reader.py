"""Reads the index in Redis, for the api's responses and the indexer's gauges."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from redis.asyncio import Redis

from districam_common.contract import names
from districam_common.contract.events import Camera
from districam_common.contract.segment_array import SegmentArray
from districam_common.index import index_codec as replies
from districam_common.index.index_codec import InstantState, Meta, parse_meta
from districam_common.index.index_queries import NEWEST_MEMBERS_LUA, queue_last_segment_reads, queue_segment_reads
from districam_common.index.recent_events_cache import RecentEventsCache
from districam_common.index.redis_client import open_pipeline, open_redis, read_hash, translate_redis_errors
from districam_common.index.revisions import decode_complete_revision
from districam_common.index.revisions import decode_logged_revisions as dated_revisions
from districam_common.index.revisions import decode_revisions as read_revisions
from districam_common.ledger.holds import HoldState
from districam_common.ledger.intervals import Interval
from districam_common.ledger.ledger import LedgerInputs, LoggedEvent
from districam_common.runtime.cooperative import yield_periodically
from districam_common.runtime.settings import RedisSettings

__all__ = [
    "EpochParameters",
    "IndexReader",
    "IndexedLedgerInputs",
    "InstantState",
    "LatestStill",
    "Meta",
    "ReadWithMeta",
    "parse_meta",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EpochParameters:
    """Parameters that all segments of an epoch share: RFC 6381 codecs, pixels."""

    codecs: str
    width: int
    height: int


STORED_AT_LUA = """
local found, step, at = {}, tonumber(ARGV[2]), tonumber(ARGV[1])
for n = 1, #KEYS, step do
  local seen = 0
  for hour = n + 1, n + step - 1 do
    local rows = redis.call('ZREVRANGEBYSCORE', KEYS[hour], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', 0, 4)
    for row = 1, #rows, 2 do
      local member = rows[row]
      if #member == 35 and at < tonumber(rows[row + 1]) + struct.unpack('>I4', member, 25) then seen = 1 end
    end
  end
  for _, one in ipairs(redis.call('ZRANGE', KEYS[n], 0, -1)) do
    local from, to = string.match(one, '^(%d+)-(%d+)$')
    if from and tonumber(from) <= at and at < tonumber(to) then seen = seen + 2 break end
  end
  found[#found + 1] = seen
end
return found
"""
"""Bits per camera: 1 if one of the last segments that began before the instant contains it, 2 if the instant has expired.

KEYS per camera: its `expired` set, then its segments by hour. ARGV: the instant in µs, number of keys per camera.
Lua's numbers are exact up to 2^53, the year 2255. Bytes 25 to 28 of a member are its duration (`MEMBER_DTYPE`).
"""

_CHUNK_SIZE = 200
"""Cameras per round trip, or events decoded before other tasks may run."""

_HOUR_OVERLAP_US = 120_000_000
"""Within this time after an hour's start, the segment may have started in, and be stored under, the hour before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedLedgerInputs(LedgerInputs):
    """The ledger's inputs from the index; `log_us` was read before the rest, `meta` after it."""

    meta: Meta | None


@dataclass(frozen=True, slots=True)
class ReadWithMeta(Generic[T]):
    """A value, and the index's metadata before and after it was read."""

    meta_before: Meta | None
    value: T
    meta_after: Meta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestStill:
    """The newest still of a camera, at most a minute old; `at_us` in µs UTC, width and height in pixels."""

    jpeg: bytes
    at_us: int
    width: int
    height: int


class IndexReader:
    """Reads the index. Every method raises `Retriable` if Redis is unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._recent_events = RecentEventsCache(replies.decode_events_uncached)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings) -> AsyncGenerator["IndexReader"]:
        async with open_redis(settings) as redis:
            yield cls(redis)

    async def ping(self) -> None:
        """Returns if Redis answers."""
        with translate_redis_errors("ping"):
            await self._redis.ping()

    async def meta(self) -> Meta | None:
        """The index's metadata; None if there is no index yet, so that nothing is known about footage."""
        return parse_meta(await self._meta_fields())

    async def _meta_fields(self) -> dict[bytes, bytes]:
        return await read_hash(self._redis, names.META, "reading the index's metadata")

    async def segments(self, camera_id: str, from_us: int, to_us: int) -> SegmentArray:
        """The camera's segments that touch [from_us, to_us), by start; one round trip."""
        async with open_pipeline(self._redis, "reading segments") as pipe:
            queue_segment_reads(pipe, camera_id, from_us, to_us)
            hours = cast("list[list[bytes]]", await pipe.execute())
        return replies.decode_segments_in_window(hours, from_us, to_us)

    async def ledger_inputs(self, camera_id: str, partitions: int, from_us: int, to_us: int) -> IndexedLedgerInputs:
        """All ledger inputs of the camera for the window, in one round trip.

        Redis executes a connection's commands in order, so `log_us` is read before everything that it covers.
        """
        partition = names.partition_of(camera_id, partitions)
        async with open_pipeline(self._redis, "reading the ledger inputs of a camera") as pipe:
            pipe.hget(names.WATERMARKS, str(partition))
            queue_segment_reads(pipe, camera_id, from_us, to_us)
            for key in (names.camera_key(camera_id), names.events_key(camera_id), names.truncations_key(partition)):
                pipe.zrange(key, 0, -1)
            pipe.hgetall(names.META)
            logged, *hours, revisions, event_members, truncations, meta = await pipe.execute()
        return IndexedLedgerInputs(
            log_us=replies.parse_watermark_us(logged),
            revisions=dated_revisions(revisions, camera_id),
            segments=replies.decode_segments_in_window(hours, from_us, to_us),
            events=await _decode_events(event_members),
            truncations=replies.decode_truncations(truncations),
            meta=parse_meta(meta),
        )

    async def events(self, camera_id: str) -> list[LoggedEvent]:
        """All events of the camera with their append times, in the order of `at_us`."""
        (members,) = await self._read_sorted_sets([names.events_key(camera_id)])
        return await _decode_events(members)

    async def events_by_member(self, camera_id: str) -> list[tuple[bytes, LoggedEvent]]:
        """As `events`, each with its member of the sorted set."""
        (members,) = await self._read_sorted_sets([names.events_key(camera_id)])
        return [
            (member, one) async for member in yield_periodically(members) for one in replies.decode_events([member])
        ]

    async def expired_intervals(self, camera_ids: Sequence[str]) -> dict[str, list[Interval]]:
        """The ranges deleted by retention, merged, by camera; one round trip."""
        found = await self._read_sorted_sets([names.expired_key(camera_id) for camera_id in camera_ids])
        return {
            camera_id: replies.parse_expired(members, camera_id)
            for camera_id, members in zip(camera_ids, found, strict=True)
        }

    async def holds(self) -> dict[str, bytes]:
        """Hold id → the hold's JSON, of all active holds."""
        found = await self._read_hold_hash(names.HOLDS)
        return {name.decode(errors="replace"): body for name, body in found.items()}

    async def hold_states(self) -> dict[str, HoldState]:
        """Hold id → the indexer's progress with it."""
        return replies.decode_values(HoldState, await self._read_hold_hash(names.HOLD_STATES), names.HOLD_STATES)

    async def _read_hold_hash(self, key: str) -> dict[bytes, bytes]:
        return await read_hash(self._redis, key, "reading the holds")

    async def recent_events(
        self, camera_ids: Sequence[str], now_us: int, max_events: int = 64
    ) -> dict[str, list[LoggedEvent]]:
        """By camera, those of its last `max_events` events that decide its current status, in the order of `at_us`."""
        out: dict[str, list[LoggedEvent]] = {}
        for some in _chunks(camera_ids):
            found = await self._read_sorted_sets([names.events_key(camera_id) for camera_id in some], start=-max_events)
            async for camera_id, members in yield_periodically(zip(some, found, strict=True)):
                out[camera_id] = self._recent_events.get(camera_id, members, now_us)
        return out

    async def last_segment_durations_us(self, ends_us: Mapping[str, int]) -> dict[str, int]:
        """Camera → duration of the segment that ends at `ends_us[camera]`, µs; the longest if there are several."""
        out: dict[str, int] = {}
        for some in _chunks(list(ends_us)):
            async with open_pipeline(self._redis, "reading the newest segments") as pipe:
                for camera_id in some:
                    queue_last_segment_reads(pipe, camera_id, ends_us[camera_id])
                found = cast("list[list[bytes]]", await pipe.execute())
            hours = [found[2 * n : 2 * n + 2] for n in range(len(some))]
            async for camera_id, two in yield_periodically(zip(some, hours, strict=True)):
                out[camera_id] = replies.segment_duration_us(two, ends_us[camera_id])
        return out

    async def watermark_us(self, camera_id: str) -> int:
        """The camera's watermark: everything before it is stored and indexed. 0 if unknown."""
        meta = await self.meta()
        if meta is None:
            return 0
        partition = names.partition_of(camera_id, meta.partitions)
        with translate_redis_errors("reading a watermark"):
            found = await cast("Awaitable[bytes | None]", self._redis.hget(names.WATERMARKS, str(partition)))
        return replies.parse_watermark_us(found)

    async def watermarks_us(self) -> dict[int, int]:
        """Partition of `fragments` → `log_us`, where known."""
        found = await read_hash(self._redis, names.WATERMARKS, "reading the watermarks")
        return replies.parse_numbers(found, names.WATERMARKS)

    async def camera_ids(self) -> set[str]:
        """Ids of all cameras ever indexed, with or without a known record."""
        with translate_redis_errors("reading the camera ids"):
            found = await cast("Awaitable[set[bytes]]", self._redis.smembers(names.CAMERA_IDS))
        return replies.parse_camera_ids(found)

    async def revisions(self, camera_id: str) -> list[Camera]:
        """All readable revisions of the camera's record, oldest first."""
        (members,) = await self._read_sorted_sets([names.camera_key(camera_id)])
        return read_revisions(members, camera_id)

    async def cameras(self) -> dict[str, Camera]:
        """The newest revision of every camera's record, deleted cameras included, by id.

        If a camera's newest revision is unreadable, its last readable one (`PartialCamera`); if none is, it is left out.
        """
        return (await self.cameras_with_meta()).value

    async def cameras_with_meta(self) -> ReadWithMeta[dict[str, Camera]]:
        """`cameras` with metadata, in two round trips; in more if a newest revision is unreadable."""
        async with open_pipeline(self._redis, "reading the cameras' records") as pipe:
            pipe.hgetall(names.META)
            pipe.smembers(names.CAMERA_IDS)
            before, known = cast("tuple[dict[bytes, bytes], set[bytes]]", await pipe.execute())
            ids = sorted(replies.parse_camera_ids(known))
            pipe.eval(NEWEST_MEMBERS_LUA, len(ids), *map(names.camera_key, ids))
            pipe.hgetall(names.META)
            newest, after = cast("tuple[list[bytes | None], dict[bytes, bytes]]", await pipe.execute())
        members = {one: member for one, member in zip(ids, newest, strict=True) if member is not None}
        records = await self._decode_newest_revisions(members)
        is_plain = all(type(record) is Camera for record in records.values()) and len(records) == len(members)
        return ReadWithMeta(parse_meta(before), records, parse_meta(after if is_plain else await self._meta_fields()))

    async def _decode_newest_revisions(self, members: Mapping[str, bytes]) -> dict[str, Camera]:
        """Decodes the newest revisions (`members`, by camera id); reads all of a camera's if its newest is unreadable."""
        read: dict[str, Camera | None] = {}
        async for some in yield_periodically(_chunks(list(members.items()))):
            read |= {one: decode_complete_revision(member) for one, member in some}
        unclear = [one for one, record in read.items() if record is None]
        partly = {one: read_revisions([members[one]], one) for one in unclear}
        for some in _chunks([one for one, found in partly.items() if not found]):
            all_of = await self._read_sorted_sets([names.camera_key(one) for one in some])
            partly |= {one: read_revisions(found, one) for one, found in zip(some, all_of, strict=True)}
        read |= {one: found[-1] if found else None for one, found in partly.items()}
        return {one: record for one, record in read.items() if record is not None}

    async def epoch_parameters(self, camera_id: str, from_us: int, to_us: int) -> dict[str, EpochParameters]:
        """Epoch → parameters, for at least all epochs with segments that touch [from_us, to_us)."""
        hours = names.hours(from_us, to_us)
        keys = list(dict.fromkeys(names.epochs_key(camera_id, hour) for hour in hours))
        async with open_pipeline(self._redis, "reading the epochs' parameters") as pipe:
            for key in keys:
                pipe.hgetall(key)
            days = cast("list[dict[bytes, bytes]]", await pipe.execute())
        found = {epoch: parameters for day in days for epoch, parameters in day.items()}
        return replies.decode_values(EpochParameters, found, f"{names.PREFIX}epoch")

    async def latest_ends_us(self) -> dict[str, int]:
        """Camera → end of its newest segment, µs UTC. Ignore ends more than `names.MAX_CLOCK_AHEAD_US` after now."""
        (rows,) = cast(
            "list[list[tuple[bytes, float]]]", await self._read_sorted_sets([names.LATEST], with_scores=True)
        )
        return replies.parse_latest_ends(rows)

    async def newest_end_us(self, camera_id: str, by_us: int) -> int | None:
        """End of the newest segment that ended at or before `by_us`; None if there is none in the 24 hours before."""
        ends = (await self.segments(camera_id, by_us - names.DAY_US, by_us))["end_us"]
        return max(ends[ends <= by_us].tolist(), default=None)

    async def still(self, camera_id: str) -> LatestStill | None:
        """The newest still; None if there is no readable one of the last minute."""
        found = await read_hash(self._redis, names.still_key(camera_id), "reading a still")
        figures = [
            replies.parse_number(found.get(name), f"still {camera_id}") for name in (b"at_us", b"width", b"height")
        ]
        at_us, width, height = figures
        if b"jpeg" not in found or at_us is None or width is None or height is None:
            return None
        return LatestStill(jpeg=found[b"jpeg"], at_us=at_us, width=width, height=height)

    async def day_bitmaps(self, camera_ids: Sequence[str], from_us: int, to_us: int) -> dict[str, list[bytes]]:
        """By camera, the bitmap of each UTC day that [from_us, to_us) touches (a bit per 10 s, most significant bit first)."""
        first, last = from_us // names.DAY_US, (to_us - 1) // names.DAY_US
        texts = [names.format_day(day * names.DAY_US) for day in range(first, last + 1)]
        keys = [names.day_key_of(camera_id, text) for camera_id in camera_ids for text in texts]
        with translate_redis_errors("reading day bitmaps"):
            found = cast("list[bytes | None]", await self._redis.mget(keys)) if keys else []
        bitmaps = [bitmap or b"" for bitmap in found]
        count = len(texts)
        return {one: bitmaps[n * count : (n + 1) * count] for n, one in enumerate(camera_ids)}

    async def states_at(self, camera_ids: Sequence[str], at_us: int) -> ReadWithMeta[dict[str, InstantState]]:
        """The state of each camera at an instant, with metadata; one round trip for all."""
        starts_us = [at_us] if at_us % names.HOUR_US >= _HOUR_OVERLAP_US else [at_us, at_us - names.HOUR_US]
        hours = [names.format_hour(start_us) for start_us in starts_us]
        keys = [
            key
            for camera_id in camera_ids
            for key in (names.expired_key(camera_id), *(names.segments_key_of(camera_id, hour) for hour in hours))
        ]
        async with open_pipeline(self._redis, "reading the states at an instant") as pipe:
            pipe.hgetall(names.META)
            pipe.eval(STORED_AT_LUA, len(keys), *keys, str(at_us), str(1 + len(hours)))
            pipe.hgetall(names.META)
            before, found, after = cast(
                "tuple[dict[bytes, bytes], list[int], dict[bytes, bytes]]", await pipe.execute()
            )
        seen = {
            camera_id: InstantState(bool(one & 1), bool(one & 2))
            for camera_id, one in zip(camera_ids, found, strict=True)
        }
        return ReadWithMeta(parse_meta(before), seen, parse_meta(after))

    async def _read_sorted_sets(
        self, keys: Sequence[str], *, start: int = 0, with_scores: bool = False
    ) -> list[list[Any]]:
        """Each sorted set's members from rank `start` on, in one round trip."""
        async with open_pipeline(self._redis, "reading the index") as pipe:
            for key in keys:
                pipe.zrange(key, start, -1, withscores=with_scores)
            return await pipe.execute()


async def _decode_events(members: Sequence[bytes]) -> list[LoggedEvent]:
    """Decodes in chunks: a camera that was unreachable for a month has 60,000 events, which take half a second."""
    out: list[LoggedEvent] = []
    async for some in yield_periodically(_chunks(members)):
        out += replies.decode_events(some)
    return out


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[n : n + _CHUNK_SIZE] for n in range(0, len(items), _CHUNK_SIZE))
