"""Retention and holds of the indexer as a process, on a real store with object lock, broker and index."""
# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, FootageExpired, SegmentStored
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.kafka.consumer import TopicReader
from districam_common.ledger.holds import Hold, Holds
from districam_common.ledger.ledger import LedgerInputs, Revision, ledger
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.service import Runtime
from districam_common.runtime.settings import KafkaSettings, S3Settings
from districam_common.s3.hold_store import HoldStore
from districam_common.s3.versioned_bucket import ObjectVersion, VersionedBucket
from districam_indexer.core.hold_rules import AnnouncedIntervals
from districam_indexer.core.operations import to_batch
from districam_indexer.core.plan import plan_stored
from districam_indexer.dependencies import Dependencies
from districam_indexer.expiry import Expirer, ExpiryRequest
from districam_indexer.index_store.eviction import Evictor
from districam_indexer.index_store.index_state import IndexState
from districam_indexer.index_store.index_writer import IndexWriter
from districam_indexer.rate_limiter import RateLimiter
from districam_indexer.settings import Settings as IndexerSettings
from integration.test_indexer import District, Indexer, district, until
from support.announcements import S, lost, segment

__all__ = ["district"]

pytestmark = pytest.mark.timeout(120)
DAYS = 2
LIMITS = {"DISTRICAM_INDEXER__RETENTION_S": "0.3", "DISTRICAM_INDEXER__HOLDS_S": "0.2"}


@dataclass(frozen=True)
class Archive:
    """A district whose camera keeps two days, in a bucket with or without lock."""

    district: District
    bucket: VersionedBucket
    edge_us: int

    @property
    def camera_id(self) -> str:
        return self.district.camera_id

    @asynccontextmanager
    async def indexer(self, **settings: str) -> AsyncGenerator[Indexer]:
        async with self.district.indexer(**LIMITS, **settings) as running:
            await until(running.is_ready)
            yield running

    async def stock(self, *starts_us: int, camera_id: str | None = None, size: int = 100) -> list[SegmentStored]:
        """Stores and announces ten seconds of footage at each of these instants."""
        made = [
            segment(camera_id or self.camera_id, first_seq=5 * n, start_us=at_us, size=size)
            for n, at_us in enumerate(starts_us)
        ]
        stored = [await self.district.store(one) for one in made]
        await self.district.announce(stored)
        await until(lambda: self._are_indexed(stored))
        return stored

    async def _are_indexed(self, stored: Sequence[SegmentStored]) -> bool:
        camera_id = stored[0].camera_id
        first_us, last_us = stored[0].start_us, stored[-1].end_us
        found = segment_array.entries_from_array(await self.district.reader.segments(camera_id, first_us, last_us))
        return {names.entry_of(one) for one in stored} <= set(found)

    async def store_late(self, original: SegmentStored) -> SegmentStored:
        """Stores another copy of about the same time, later."""
        late = segment(self.camera_id, epoch=1, first_seq=0, start_us=original.start_us + S, size=100)
        return await self.district.store(late)

    async def keys(self) -> set[str]:
        return {one.key async for one in self.bucket.list("") if not one.key.startswith("_")}

    async def indexed(self, from_us: int, to_us: int) -> list[segment_array.IndexEntry]:
        return segment_array.entries_from_array(await self.district.reader.segments(self.camera_id, from_us, to_us))


@asynccontextmanager
async def archive_of(district: District, s3: S3Settings) -> AsyncGenerator[Archive]:
    now_us = SystemClock().now_us()
    await _keeps(district, 400, now_us - 400 * DAY_US)
    async with VersionedBucket.open(s3) as bucket:
        yield Archive(district, bucket, (now_us - DAYS * DAY_US) // HOUR_US * HOUR_US)


@pytest_asyncio.fixture
async def archive(district: District, s3: S3Settings) -> AsyncGenerator[Archive]:
    """An archive without object lock."""
    async with archive_of(district, s3) as made:
        yield made


async def _keeps(district: District, days: int, since_us: int) -> None:
    camera = Camera(
        camera_id=district.camera_id, name="Cổng", url="rtsp://10.0.0.1/1", retention_days=days, updated_us=since_us
    )  # fmt: skip
    await district.publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))


async def believe(archive: Archive) -> None:
    """From now on the camera's footage is kept for two days, and the recorders' watermark is current."""
    now_us = SystemClock().now_us()
    await _keeps(archive.district, DAYS, now_us)
    theirs = str(names.partition_of(archive.camera_id, 60))
    await archive.district.redis.hset(names.WATERMARKS, mapping={"0": str(now_us), theirs: str(now_us)})


async def test_footage_older_than_its_days_is_announced_deleted_and_dropped(archive: Archive, kafka: KafkaSettings):
    district = archive.district
    old = [archive.edge_us - 3 * HOUR_US, archive.edge_us - 3 * HOUR_US + 20 * S, archive.edge_us - 30 * S]
    young = [archive.edge_us - 5 * S, archive.edge_us + 60 * S]
    event = wire.event_message(lost(old[0] - DAY_US, archive.camera_id), 1, site="local", service="ingest")
    async with archive.indexer():
        stored = await archive.stock(*old, *young)
        await district.publisher.publish(names.STREAMS, event)
        assert len(await archive.keys()) == 5
        await believe(archive)
        await until(lambda: _is(archive.keys, {one.key for one in stored[3:]}))
        kept = [names.entry_of(one) for one in stored[3:]]
        await until(lambda: _is(lambda: archive.indexed(old[0], young[-1] + 10 * S), kept))
        expired = (await district.reader.expired_intervals([archive.camera_id]))[archive.camera_id]
        assert expired[0][0] <= old[0]
        assert expired[-1][1] == archive.edge_us
        await district.announce(stored)  # a replay
        later = await archive.stock(archive.edge_us + 600 * S)
        await until(lambda: _is(lambda: archive.indexed(old[0], later[0].end_us), [*kept, names.entry_of(later[0])]))
        reader, camera_id = district.reader, archive.camera_id
        known = LedgerInputs(
            revisions=[Revision(one) for one in await reader.revisions(camera_id)],
            segments=await reader.segments(camera_id, old[0], archive.edge_us + HOUR_US),
            events=await reader.events(camera_id),
            log_us=archive.edge_us,
        )
        states = ledger((old[0], archive.edge_us + 10 * S), known, now_us=archive.edge_us)
        assert (states[0].state, states[0].to_us) == ("expired", archive.edge_us)
        before = await district.contents()
        async with district.indexer("rebuild") as command, asyncio.timeout(30):
            assert await command.child.wait() == 0
        after = await district.contents()
        of_footage = [key for key in before if key.startswith(("dc1:seg:", "dc1:day:", "dc1:epoch:"))]
        assert {key: after.get(key) for key in of_footage} == {key: before[key] for key in of_footage}
    async with TopicReader.open(kafka, [names.RETENTION]) as reader:
        records = [one for one in await reader.read_all() if one.key == archive.camera_id.encode()]
    published = [wire.decode_event(one.key, one.headers, one.value) for one in records]
    assert any(isinstance(one, FootageExpired) and one.to_us == archive.edge_us for one in published)


async def _is(ask: Callable[[], Awaitable[object]], wanted: object) -> bool:
    return await ask() == wanted


async def test_a_kill_between_any_two_steps_is_resumed(archive: Archive):
    """Partly deleted but still indexed, partly announced but still stored: the states that a kill leaves."""
    starts = [archive.edge_us - HOUR_US + n * 20 * S for n in range(6)]
    async with archive.indexer():
        stored = await archive.stock(*starts, archive.edge_us + 60 * S)
    event = FootageExpired(
        camera_id=archive.camera_id, at_us=archive.edge_us, instance="i", from_us=starts[0], to_us=archive.edge_us,
        reason="announced, then killed",
    )  # fmt: skip
    message = wire.event_message(event, 7, site="local", service="indexer")
    await archive.district.publisher.publish(names.RETENTION, message)
    await archive.bucket.delete([one.key for one in stored[:3]])
    await believe(archive)
    async with archive.indexer():
        await until(lambda: _is(archive.keys, {stored[-1].key}))
        await until(lambda: _is(lambda: archive.indexed(starts[0], stored[-1].end_us), [names.entry_of(stored[-1])]))


async def test_over_the_budget_each_camera_loses_its_oldest_footage(archive: Archive):
    other = f"{archive.camera_id}-b"
    now_us = SystemClock().now_us()
    hours = [(now_us // HOUR_US - n) * HOUR_US for n in range(34, 26, -1)]
    record = Camera(camera_id=other, name="b", url="rtsp://10.0.0.1/1", retention_days=DAYS, updated_us=hours[0])
    await archive.district.publisher.publish(names.CAMERAS, wire.camera_message(record, site="local"))
    async with archive.indexer():
        await archive.stock(*hours, size=1000)
        await archive.stock(*hours, camera_id=other, size=1000)
        await archive.stock(now_us - 60 * S, size=1000)
        await believe(archive)
    async with archive.indexer(DISTRICAM_STORAGE__MAX_BYTES="10000") as indexer:
        await until(lambda: _fits(archive, 10_000))
        left = {
            one: sorted(key for key in await archive.keys() if key.startswith(f"{one}/"))
            for one in (archive.camera_id, other)
        }
        assert [len(some) for some in left.values()] == [5, 4]  # the current one belongs to the first camera
        await until(lambda: _says(indexer, "districam_storage_over_budget_bytes 0.0"))


async def _says(indexer: Indexer, line: str) -> bool:
    return line in await indexer.ask("/metrics")


async def _fits(archive: Archive, most: int) -> bool:
    return sum([one.size async for one in archive.bucket.list("") if not one.key.startswith("_")]) <= most


class Interrupted(HoldStore):
    """Places a hold right after retention has read the holds for the first time."""

    hold: Hold | None = None

    async def list_active(self) -> Holds:
        found = await super().list_active()
        if self.hold is not None:
            hold, self.hold = self.hold, None
            await self.place(hold)
        return found


@asynccontextmanager
async def in_process(archive: Archive, s3: S3Settings, kafka: KafkaSettings) -> AsyncGenerator[Dependencies]:
    """The indexer's dependencies without its loops."""
    redis = archive.district.redis
    settings = IndexerSettings(s3=s3, kafka=kafka)
    writer = IndexWriter(redis, still_ttl_s=60)
    fields = {"site": "local", "schema": "1", "partitions": 60, "state": "ready", "build": "b"}
    await redis.hset(names.META, mapping={**fields})
    yield Dependencies(
        settings, Runtime("indexer"), archive.district.publisher, archive.district.reader, writer, IndexState(redis),
        Evictor(redis, writer), archive.bucket, AnnouncedIntervals(), streams_until_us=0,
    )  # fmt: skip


async def test_a_hold_placed_between_announcement_and_deletion_keeps_its_footage(
    archive: Archive, s3: S3Settings, kafka: KafkaSettings
):
    """The api would find it announced and reject it; but reading the holds again before deleting keeps the footage."""
    starts = [archive.edge_us - HOUR_US, archive.edge_us - HOUR_US + 60 * S]
    async with in_process(archive, s3, kafka) as dependencies:
        stored = [
            await archive.district.store(segment(archive.camera_id, first_seq=5 * n, start_us=at_us, size=100))
            for n, at_us in enumerate(starts)
        ]
        operations = [one for made in stored for one in plan_stored(made)]
        await dependencies.writer.apply(to_batch(operations), build="b")
        store = Interrupted(archive.bucket)
        store.hold = Hold(
            id="0" * 16, camera_id=archive.camera_id, from_us=starts[1], to_us=starts[1] + S, reason="r",
            placed_by="-", placed_us=1,
        )  # fmt: skip
        wanted = ExpiryRequest(
            archive.camera_id, archive.edge_us, "old", [archive.edge_us - HOUR_US], archive.edge_us + DAY_US
        )
        outcome = await Expirer(dependencies, store, RateLimiter(dependencies.runtime, 1000)).run(wanted, build="b")
        assert await archive.keys() == {stored[1].key}
        assert (outcome.deleted, outcome.evicted) == (1, 1)
        assert await archive.indexed(starts[0], archive.edge_us) == [names.entry_of(stored[1])]


async def test_expiry_is_announced_before_anything_is_deleted(archive: Archive, s3: S3Settings, kafka: KafkaSettings):
    start_us = archive.edge_us - HOUR_US
    async with in_process(archive, s3, kafka) as dependencies:
        await archive.district.store(segment(archive.camera_id, start_us=start_us, size=100))
        published: list[list[tuple[int, int]]] = []

        class Watched(VersionedBucket):
            async def delete_versions(self, versions: Sequence[ObjectVersion]) -> list[ObjectVersion]:
                published.append(
                    (await archive.district.reader.expired_intervals([archive.camera_id]))[archive.camera_id]
                )
                return await super().delete_versions(versions)

        async with Watched.open(s3) as watched:
            watching = replace(dependencies, bucket=watched)
            wanted = ExpiryRequest(archive.camera_id, archive.edge_us, "old", [], archive.edge_us + DAY_US)
            await Expirer(watching, HoldStore(watched), RateLimiter(dependencies.runtime, 1000)).run(wanted, build="b")
        assert published == [[(start_us, archive.edge_us)]]


async def test_completely_expired_days_are_not_listed_hour_by_hour(
    archive: Archive, s3: S3Settings, kafka: KafkaSettings
):
    """SeaweedFS keeps listing empty folders; a year of them would take longer than an hour, the interval of rounds."""
    starts = [archive.edge_us - DAY_US - n * HOUR_US for n in range(4)]
    asked: list[str] = []

    class Watched(VersionedBucket):
        async def common_prefixes(self, prefix: str) -> list[str]:
            asked.append(prefix)
            return await super().common_prefixes(prefix)

        async def versions(self, prefix: str) -> AsyncGenerator[ObjectVersion]:
            asked.append(prefix)
            async for one in super().versions(prefix):
                yield one

    async def round_of(expiry: Expirer) -> set[str]:
        asked.clear()
        await expiry.run(
            ExpiryRequest(archive.camera_id, archive.edge_us, "old", [], archive.edge_us + DAY_US), build="b"
        )
        return set(asked)

    async with in_process(archive, s3, kafka) as dependencies, Watched.open(s3) as watched:
        for n, start_us in enumerate(starts):
            await archive.district.store(segment(archive.camera_id, first_seq=5 * n, start_us=start_us, size=100))
        camera = f"{archive.camera_id}/"
        days = {names.day_prefix(archive.camera_id, start_us) for start_us in starts}
        expiry = Expirer(
            replace(dependencies, bucket=watched), HoldStore(watched), RateLimiter(dependencies.runtime, 1000)
        )
        assert {names.hour_prefix(archive.camera_id, start_us) for start_us in starts} < await round_of(expiry)
        assert await archive.keys() == set()
        assert await round_of(expiry) <= {camera, *days}
        assert await round_of(expiry) == {camera}
