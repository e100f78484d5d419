"""Retention by an indexer that is repeatedly killed between announcing, deleting and dropping."""
# redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import FootageExpired, SegmentStored
from districam_common.contract.names import HOUR_US
from districam_common.kafka.consumer import TopicReader
from districam_common.ledger.holds import Hold
from districam_common.ledger.intervals import Interval, merge, subtract
from districam_common.runtime.settings import KafkaSettings
from districam_common.s3.hold_store import HoldStore
from districam_indexer.core.retention import redundant_ranges
from integration.test_holds import locked
from integration.test_indexer import checked, until
from integration.test_retention import LIMITS, Archive, believe
from support.announcements import S
from support.blocking_proxy import BlockingProxy, running_blocking_proxy

__all__ = ["locked"]

pytestmark = pytest.mark.timeout(120)
HOURS, A_HOUR = 10, 3
STOPPED_S = 40
FIRST = "published on the topic, not in the index"
SEAMS = ("announced, not deleted", "deleted, not dropped")


@dataclass(frozen=True)
class Scene:
    """Footage to expire, and proxies on which retention can be blocked."""

    archive: Archive
    store: BlockingProxy
    redis: BlockingProxy
    stored: list[SegmentStored]
    held: SegmentStored

    @property
    def kept(self) -> list[SegmentStored]:
        """The held segment and the recent one."""
        return [self.held, self.stored[-1]]

    async def kill_at(self, step: str, passes: int) -> None:
        """Kills an indexer at that step of an hour, after `passes` hours."""
        camera_id, gate = self.archive.camera_id, self.redis
        match step:
            case "announced, not deleted":
                gate, stops = self.store, b"?delete"
            case "deleted, not dropped":
                stops = _command("ZREM", names.segments_key(camera_id, self.archive.edge_us))[:-10]
            case _:
                stops = _command(names.expired_key(camera_id), "ZADD")  # by a script: the key comes first
        gate.block_on(stops, passes)
        settings = {
            "DISTRICAM_S3__ENDPOINT": f"http://127.0.0.1:{self.store.port}",
            "DISTRICAM_REDIS__URL": f"redis://127.0.0.1:{self.redis.port}/0",
        }
        async with self.archive.district.indexer(**LIMITS, **settings) as indexer:
            async with asyncio.timeout(STOPPED_S):
                await gate.has_blocked.wait()
            indexer.child.kill()
            await indexer.child.wait()
        gate.unblock()

    async def left(self) -> tuple[set[str], set[str]]:
        """Stored keys and indexed keys."""
        first_us, last_us = self.stored[0].start_us, self.stored[-1].end_us
        entries = await self.archive.indexed(first_us, last_us)
        keys = {names.segment_object_key(self.archive.camera_id, one) for one in entries}
        return await self.archive.keys(), keys

    async def is_done(self) -> bool:
        kept = {one.key for one in self.kept}
        return await self.left() == (kept, kept)

    async def expired(self) -> list[Interval]:
        """Expired ranges in the index."""
        key = names.expired_key(self.archive.camera_id)
        found = await cast("Awaitable[list[bytes]]", self.archive.district.redis.zrange(key, 0, -1))
        return [names.parse_interval(one) for one in found]

    async def is_published_once(self) -> bool:
        return redundant_ranges(await self.expired()) == []


def _command(name: str, key: str) -> bytes:
    """How a command on that key is encoded (RESP)."""
    return f"${len(name)}\r\n{name}\r\n${len(key)}\r\n{key}".encode()


@asynccontextmanager
async def a_scene(archive: Archive, chance: random.Random) -> AsyncGenerator[Scene]:
    """Ten old hours with three segments each, one of them held; and a recent segment."""
    hours = [archive.edge_us - n * HOUR_US for n in range(HOURS, 0, -1)]
    starts = [hour_us + at_s * S for hour_us in hours for at_s in sorted(chance.sample(range(0, 3580, 20), A_HOUR))]
    async with archive.indexer() as indexer:
        stored = await archive.stock(*starts, archive.edge_us + 2 * HOUR_US)
        indexer.child.terminate()
        await indexer.child.wait()
    held = chance.choice(stored[:-1])
    hold = Hold(
        id="a" * 16, camera_id=archive.camera_id, from_us=held.start_us, to_us=held.start_us + S, reason="r",
        placed_by="-", placed_us=1,
    )  # fmt: skip
    await HoldStore(archive.bucket).place(hold)
    await believe(archive)
    district = archive.district
    store_port = int(district.servers.s3.endpoint.rpartition(":")[2])
    redis_port = int(district.redis_url.rpartition(":")[2].partition("/")[0])
    async with running_blocking_proxy(store_port) as store, running_blocking_proxy(redis_port) as redis:
        yield Scene(archive, store, redis, stored, held)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_kill_between_announcing_deleting_and_dropping_changes_nothing(
    locked: Archive, kafka: KafkaSettings, seed: int
):
    chance = random.Random(seed)
    async with a_scene(locked, chance) as scene:
        everything = {one.key for one in scene.stored}
        await scene.kill_at(FIRST, 0)
        assert await scene.left() == (everything, everything)
        assert await scene.expired() == []
        assert await _published(kafka, locked.camera_id)
        for step in [*chance.sample(SEAMS, 2), chance.choice(SEAMS)]:
            before = (await scene.left())[1]
            await scene.kill_at(step, chance.randrange(3))
            stored, indexed = await scene.left()
            assert stored <= indexed <= before  # everything stored is indexed
            assert {one.key for one in scene.kept} <= stored
            gone = {key[: key.rindex("/")] for key in indexed - stored}
            assert len(gone) == (1 if step == "deleted, not dropped" else 0), (step, gone)
            assert await scene.expired()
        async with locked.indexer():
            await until(scene.is_done, 40)
            await until(scene.is_published_once, 40)
            await _agrees(scene, merge(await _published(kafka, locked.camera_id)))


async def _agrees(scene: Scene, published: list[Interval]) -> None:
    """The index agrees with the topic and with the bucket."""
    archive, held_us = scene.archive, scene.held.start_us
    expired = merge(await scene.expired())
    assert expired == published
    whole = (expired[0][0], expired[-1][1])
    assert whole[0] <= scene.stored[0].start_us
    assert whole[1] in (archive.edge_us, archive.edge_us + HOUR_US)  # a new hour may have started meanwhile
    assert expired == subtract([whole], [(held_us, held_us + S)])
    versions = [one async for one in archive.bucket.versions(f"{archive.camera_id}/")]
    assert sorted(one.key for one in versions) == [one.key for one in scene.kept]
    code, found, output = await checked(archive.district)
    assert (code, found["missing"], found["surplus"], found["objects"]) == (0, 0, 0, 2), output
    assert await archive.indexed(scene.stored[0].start_us, scene.stored[-1].end_us) == [
        names.entry_of(one) for one in scene.kept
    ]


async def _published(kafka: KafkaSettings, camera_id: str) -> list[Interval]:
    """Ranges of `expired` events on the topic, in order."""
    async with TopicReader.open(kafka, [names.RETENTION]) as reader:
        records = [one for one in await reader.read_all() if one.key == camera_id.encode()]
    events = [wire.decode_event(one.key, one.headers, one.value) for one in records]
    return [(one.from_us, one.to_us) for one in events if isinstance(one, FootageExpired)]
