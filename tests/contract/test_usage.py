"""Usage counts equal a scan of the whole index, on a real Valkey, for any history of writers."""
# Redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from districam_common.contract import names, segment_array
from districam_common.contract.segment_array import IndexEntry
from districam_common.index.redis_client import open_redis
from districam_common.kafka.records import Partition
from districam_common.runtime.service import Runtime
from districam_common.runtime.settings import RedisSettings
from districam_devkit.servers import valkey
from districam_indexer.core.operations import to_batch
from districam_indexer.core.plan import plan_stored
from districam_indexer.index_store.eviction import Evictor
from districam_indexer.index_store.index_state import IndexState
from districam_indexer.index_store.index_writer import IndexWriter
from districam_indexer.index_store.usage import UsageCounter, indexed_hours
from districam_indexer.index_store.usage_scripts import position_field
from support.announcements import EPOCHS, NOON_US, S, segment

BUILD = "first"
PLACE = Partition(names.SEGMENTS, 3)
POOL = [
    segment(camera, epoch=epoch, first_seq=5 * n, start_us=NOON_US + n * 1500 * S, size=1000 + 7 * n + epoch)
    for camera in ("cam-1", "cam-2")
    for epoch in (0, 1)
    for n in range(6)
]
"""Segments of two cameras, each with two overlapping epochs of three hours."""
HOURS = [(camera, NOON_US + n * names.HOUR_US) for camera in ("cam-1", "cam-2") for n in range(3)]


@dataclass
class Site:
    """An index and one indexer that writes it. `offset`: its position in the topic."""

    redis: Redis
    writer: IndexWriter
    state: IndexState
    usage: UsageCounter
    offset: int = 0
    kept: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])

    async def begin(self) -> None:
        await self.redis.flushall()
        await self.state.clear(site="here", partitions=60)
        await self.state.begin(BUILD, {PLACE: 0})
        self.offset, self.kept = 0, {}

    async def add(self, some: Sequence[int]) -> None:
        """Writes announced segments as this version does."""
        moves = {PLACE: (self.offset, self.offset + len(some))}
        batch = to_batch(one for n in some for one in plan_stored(POOL[n]))
        await self.writer.apply(batch, build=BUILD, offset_changes={**moves})
        self.offset += len(some)

    async def replay(self, some: Sequence[int]) -> None:
        """Writes segments that may exist, as a rebuild does, or a member that has already lost its membership."""
        await self.writer.apply(to_batch(one for n in some for one in plan_stored(POOL[n])), build=BUILD)

    async def add_uncounted(self, some: Sequence[int]) -> None:
        """Writes segments as an earlier version does, without counts."""
        self.offset += len(some)
        for n in some:
            stored = POOL[n]
            key = names.segments_key(stored.camera_id, stored.start_us)
            await self.redis.zadd(key, {segment_array.encode_member(names.entry_of(stored)): stored.start_us})
        await self.redis.hset(names.APPLIED, position_field(PLACE), str(self.offset))

    async def drop(self, some: Sequence[int]) -> None:
        """Deletes one or both epochs of an hour, as retention does."""
        camera_id, hour_us = HOURS[some[0] % len(HOURS)]

        def is_over(entry: IndexEntry) -> bool:
            return len(some) > 2 or entry.epoch == EPOCHS[len(some) % 2]

        await Evictor(self.redis, self.writer).evict(camera_id, hour_us, is_over, build=BUILD)

    async def count(self, _: Sequence[int]) -> None:
        await self.usage.recount(BUILD)

    async def keep(self, _: Sequence[int]) -> None:
        """Saves the data, as a snapshot of Redis does."""
        keys = cast("list[bytes]", await self.redis.keys("*"))
        self.kept = {key: cast("bytes", await self.redis.dump(key)) for key in keys}

    async def set_back(self, _: Sequence[int]) -> None:
        """Restores the saved data; the indexer continues from the position in it."""
        if not self.kept:
            return
        await self.redis.flushall()
        for key, value in self.kept.items():
            await self.redis.restore(key, 0, value)
        self.offset = (await self.writer.read_positions())[PLACE]

    async def scanned(self) -> dict[str, dict[int, int]]:
        """Camera → hour → bytes, by a scan of all segments."""
        out: dict[str, dict[int, int]] = {}
        async for page in indexed_hours(self.redis):
            for camera_id, hour in page:
                key = names.segments_key_of(camera_id, hour)
                rows = cast("list[tuple[bytes, float]]", await self.redis.zrange(key, 0, -1, withscores=True))
                found = segment_array.decode_members([member for member, _ in rows], [at for _, at in rows])
                size = int(found["bytes"].sum())
                out.setdefault(camera_id, {})[names.parse_hour(hour)] = size
        return out

    async def counted(self) -> dict[str, dict[int, int]]:
        """The same from the counts; a camera's total must be the sum of its hours."""
        totals = await self.usage.bytes_by_camera()
        hours = {camera_id: await self.usage.bytes_by_hour(camera_id) for camera_id in totals}
        assert {camera_id: sum(found.values()) for camera_id, found in hours.items()} == totals
        return hours


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    async with valkey.running(tmp_path, log_dir=tmp_path) as server, open_redis(RedisSettings(url=server.url)) as redis:
        writer = IndexWriter(redis, still_ttl_s=60)
        runtime = Runtime("indexer", "one")
        yield Site(redis, writer, IndexState(redis), UsageCounter(redis, writer, runtime))


some = st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=8)
kinds = st.sampled_from(["add", "add", "replay", "add_uncounted", "drop", "count", "keep", "set_back"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(kinds, some), max_size=14))
async def test_valid_usage_counts_equal_a_scan_of_the_index(site: Site, acts: list[tuple[str, list[int]]]):
    await site.begin()
    for kind, chosen in acts:
        await getattr(site, kind)(chosen)
        if await site.usage.count_state(BUILD) == "complete":
            assert await site.counted() == await site.scanned(), kind
    await site.count([])
    assert await site.usage.count_state(BUILD) == "complete"
    assert await site.counted() == await site.scanned()
    await site.add([0, 1, 2])
    await site.drop([0, 1, 2])
    assert await site.usage.count_state(BUILD) == "complete", "adding and dropping must keep the counts valid"
    assert await site.counted() == await site.scanned()


@pytest.mark.correctness
async def test_an_index_without_usage_counts_is_counted_once(site: Site):
    await site.begin()
    await site.add_uncounted(range(len(POOL)))
    assert await site.usage.count_state(BUILD) == "missing"
    await site.usage.recount(BUILD)
    assert await site.usage.count_state(BUILD) == "complete"
    assert await site.counted() == await site.scanned()
    assert await site.usage.count_state("another build") == "missing"


async def test_duplicate_segments_count_once_and_deleted_ones_do_not_count(site: Site):
    await site.begin()
    await site.count([])
    await site.add([0, 1, 2])
    await site.replay([0, 1])
    assert await site.usage.bytes_by_camera() == {"cam-1": sum(POOL[n].bytes for n in (0, 1, 2))}
    assert await site.usage.bytes_by_hour("cam-1") == {NOON_US: sum(POOL[n].bytes for n in (0, 1, 2))}
    await site.drop([0, 0, 0])
    assert await site.usage.bytes_by_camera() == {}
    assert await site.usage.count_state(BUILD) == "complete"


async def test_writes_of_an_earlier_version_invalidate_the_counts(site: Site):
    await site.begin()
    await site.count([])
    await site.add([0, 1])
    await site.add_uncounted([2, 3])
    assert await site.usage.count_state(BUILD) == "incomplete"
    await site.add([4, 5])
    assert await site.usage.count_state(BUILD) == "incomplete", "later writes hide the uncounted ones"


async def test_two_concurrent_counters_do_not_undo_each_other(site: Site):
    await site.begin()
    await site.add(range(len(POOL)))
    other = UsageCounter(site.redis, site.writer, Runtime("indexer", "two"))
    async with asyncio.TaskGroup() as tasks:
        for usage in (site.usage, other):
            tasks.create_task(usage.recount(BUILD))
    assert await site.usage.count_state(BUILD) == "complete"
    assert await site.counted() == await site.scanned()
