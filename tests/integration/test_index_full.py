"""Redis at `maxmemory`: writes are atomic, and operations that free memory still work."""
# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from districam_common.contract import names
from districam_common.contract.events import FootageExpired
from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_client import RedisUnavailable, open_redis
from districam_common.runtime.settings import RedisSettings
from districam_devkit.servers import valkey
from districam_indexer.core.operations import to_batch
from districam_indexer.core.plan import plan_event, plan_stored
from districam_indexer.index_store.eviction import Evictor
from districam_indexer.index_store.index_state import IndexState
from districam_indexer.index_store.index_writer import IndexWriter
from integration.test_indexer import district, segments, until
from integration.test_retention import DAYS, Archive, archive, believe
from support.announcements import EPOCHS, NOON_US, S, segment
from support.wait_until import wait_until_async

__all__ = ["archive", "district"]

pytestmark = [pytest.mark.timeout(120), pytest.mark.correctness]
BUILD, CAMERA = "b", "cam-1"
HOUR_US = NOON_US // names.HOUR_US * names.HOUR_US


@dataclass(frozen=True)
class Full:
    """An index of five minutes of a camera, in a full Redis."""

    redis: Redis
    reader: IndexReader
    writer: IndexWriter

    async def bits(self) -> int:
        return await self.redis.bitcount(names.day_key(CAMERA, NOON_US))

    async def found(self) -> int:
        return len(await self.reader.segments(CAMERA, HOUR_US, HOUR_US + names.HOUR_US))


@pytest_asyncio.fixture
async def full(tmp_path: Path) -> AsyncGenerator[Full]:
    async with valkey.running(tmp_path, log_dir=tmp_path) as server, open_redis(RedisSettings(url=server.url)) as redis:
        state, writer = IndexState(redis), IndexWriter(redis, still_ttl_s=60)
        await state.clear(site="local", partitions=60)
        await state.begin(BUILD, {})
        await state.finish(build=BUILD)
        await writer.apply(to_batch(op for one in segments(CAMERA, 30) for op in plan_stored(one)), build=BUILD)
        await redis.config_set("maxmemory", "1mb")
        yield Full(redis, IndexReader(redis), writer)


async def test_an_hour_is_dropped_from_the_index_in_one_step(full: Full):
    """Leftover bits would show slots as recorded for ever, as nothing else removes them."""
    assert (await full.found(), await full.bits()) == (30, 30)
    with suppress(RedisUnavailable):
        await Evictor(full.redis, full.writer).evict(CAMERA, HOUR_US, lambda _: True, build=BUILD)
    assert (await full.found(), await full.bits()) == (0, 0)
    assert await full.redis.hlen(names.epochs_key(CAMERA, NOON_US)) == 0


async def test_retention_continues_with_a_full_index_and_frees_memory(archive: Archive):
    """Otherwise it would wait for memory that nothing else frees."""
    at_us, redis = archive.edge_us - names.HOUR_US, archive.district.redis
    async with archive.indexer():
        stored = await archive.stock(*[at_us + n * 20 * S for n in range(30)], archive.edge_us + 60 * S)
        await redis.config_set("maxmemory", "1mb")
        with pytest.raises(OutOfMemoryError):
            await redis.set("dc1:test", "")
        await redis.config_set("maxmemory", "0")
        await believe(archive)
        await until(lambda: _keeps(archive, DAYS))
        await redis.config_set("maxmemory", "1mb")
        left = int(archive.edge_us // names.DAY_US == at_us // names.DAY_US)  # the bit of the kept segment
        assert await wait_until_async(lambda: _is_gone(archive, at_us, left), 30)
        assert await archive.keys() == {stored[-1].key}
        assert (await archive.district.reader.expired_intervals([archive.camera_id]))[archive.camera_id][-1][
            1
        ] == archive.edge_us


async def _keeps(archive: Archive, days: int) -> bool:
    return (await archive.district.reader.revisions(archive.camera_id))[-1].retention_days == days


async def _is_gone(archive: Archive, at_us: int, left: int) -> bool:
    bits = await archive.district.redis.bitcount(names.day_key(archive.camera_id, at_us))
    return bits == left and not await archive.indexed(at_us, archive.edge_us)


async def test_expirations_are_published_when_the_index_is_full(full: Full):
    """Otherwise retention would be blocked by the index that only retention shrinks."""
    later = segment(CAMERA, first_seq=900, start_us=NOON_US + 900 * S)
    with pytest.raises(RedisUnavailable):
        await full.writer.apply(
            to_batch(plan_stored(later)), build=BUILD, offset_changes={(names.SEGMENTS, 0): (0, 31)}
        )
    assert (await full.found(), await full.bits()) == (30, 30)
    assert await full.writer.read_positions() == {}
    assert EPOCHS[0] in await full.reader.epoch_parameters(CAMERA, NOON_US, NOON_US + S)
    event = FootageExpired(
        camera_id=CAMERA, at_us=NOON_US, instance="i", from_us=0, to_us=NOON_US, reason="older than retention_days"
    )  # fmt: skip
    await full.writer.apply_when_full(to_batch(plan_event(event, NOON_US)), build=BUILD)
    assert await full.reader.expired_intervals([CAMERA]) == {CAMERA: [(0, NOON_US)]}
    assert [one.event for one in await full.reader.events(CAMERA)] == [event]
