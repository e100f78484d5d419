"""A Redis restored without its last second of writes: the index is completed from the topics."""
# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import Camera
from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_client import open_redis
from districam_common.runtime.settings import KafkaSettings, RedisSettings, S3Settings
from districam_devkit.servers import Servers, valkey
from integration.test_indexer import District, a_district, segments, until
from support.announcements import NOON_US, S
from support.wait_until import wait_until_async

pytestmark = [pytest.mark.timeout(120), pytest.mark.correctness]
FLUSHED_S = 1.5
"""With `appendfsync everysec`, all writes are on disk by then."""


@dataclass(frozen=True)
class RestorableDistrict:
    """A district whose Redis can be restored to the state on disk."""

    district: District
    server: valkey.Redis
    folder: Path

    async def keep(self) -> None:
        await asyncio.sleep(FLUSHED_S)
        await asyncio.to_thread(shutil.copytree, self._on_disk, self.folder / "kept")

    async def set_back(self) -> None:
        """Simulates a power failure."""
        await self.server.child.kill()
        await asyncio.to_thread(shutil.rmtree, self._on_disk)
        await asyncio.to_thread(shutil.copytree, self.folder / "kept", self._on_disk)
        await self.server.child.start()

    @property
    def _on_disk(self) -> Path:
        return self.folder / "redis" / "appendonlydir"


@asynccontextmanager
async def kept(
    servers: Servers, kafka: KafkaSettings, s3: S3Settings, folder: Path
) -> AsyncGenerator[RestorableDistrict]:
    home = folder / "redis"
    home.mkdir()
    async with (
        a_district(servers, kafka, s3, folder, object_lock=False) as made,
        valkey.running(home, log_dir=home) as server,
        open_redis(RedisSettings(url=server.url)) as redis,
    ):
        district = replace(made, redis=redis, redis_url=server.url, reader=IndexReader(redis))
        yield RestorableDistrict(district, server, folder)


async def test_a_revision_lost_with_the_last_second_is_written_again(
    servers: Servers, kafka: KafkaSettings, s3: S3Settings, tmp_path: Path
):
    """A camera disabled then must not have a gap, a new one must not be unknown."""
    async with kept(servers, kafka, s3, tmp_path) as redis:
        district = redis.district
        on = Camera(camera_id=district.camera_id, name="x", url="rtsp://10.0.0.1/1", updated_us=NOON_US)
        off = replace(on, enabled=False, revision=2, updated_us=NOON_US + 100 * S)
        new = replace(on, camera_id=f"{district.camera_id}-new")
        stored = segments(district.camera_id, 6)
        await _publish(district, on)
        async with district.indexer() as indexer:
            await until(indexer.is_ready)
            await until(lambda: _knows(district, [on]))
            await district.announce(stored[:3])
            await until(lambda: _has(district, 3))
            await redis.keep()
            await _publish(district, off, new)
            await district.announce(stored[3:])
            await until(lambda: _knows(district, [on, off]))
            await until(lambda: _knows(district, [new]))
            await until(lambda: _has(district, 6))
            await redis.set_back()
            await until(lambda: _has(district, 6))
            assert await wait_until_async(lambda: _knows(district, [on, off]))
            assert await wait_until_async(lambda: _knows(district, [new]))
            assert await wait_until_async(indexer.is_ready)
            last = replace(off, revision=3, enabled=True, updated_us=NOON_US + 200 * S)
            await _publish(district, last)
            assert await wait_until_async(lambda: _knows(district, [on, off, last]))


async def test_several_replicas_agree_on_how_far_cameras_are_read(
    servers: Servers, kafka: KafkaSettings, s3: S3Settings, tmp_path: Path
):
    """None mistakes another replica's position for a restored index; a restarted one lowers none."""
    async with kept(servers, kafka, s3, tmp_path) as redis:
        district = redis.district
        one = Camera(camera_id=district.camera_id, name="x", url="rtsp://10.0.0.1/1", updated_us=NOON_US)
        await _publish(district, one)
        async with district.indexer() as first:
            await until(first.is_ready)
            await until(lambda: _knows(district, [one]))
            place = f"{names.CAMERAS}:{names.partition_of(district.camera_id, 60)}"
            await until(lambda: district.redis.hget(names.APPLIED, place))
            before = await district.redis.hget(names.APPLIED, place)
            async with district.indexer() as second:
                await until(second.is_ready)
                two = replace(one, revision=2, updated_us=NOON_US + S)
                await _publish(district, two)
                await until(lambda: _knows(district, [one, two]))
                await asyncio.sleep(3)
                assert await district.redis.hget(names.APPLIED, place) == str(int(before or 0) + 1).encode()
            for indexer in (first, second):
                log_text = (district.home / f"indexer-{indexer.port}.log").read_text()
                assert "camera records are read again" not in log_text


async def _publish(district: District, *cameras: Camera) -> None:
    for camera in cameras:
        await district.publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))


async def _knows(district: District, revisions: list[Camera]) -> bool:
    return await district.reader.revisions(revisions[0].camera_id) == revisions


async def _has(district: District, count: int) -> bool:
    return len(await district.found()) == count
