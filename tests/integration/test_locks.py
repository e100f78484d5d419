"""Object lock of new footage on a real store: it cannot be deleted, and recorder and retention work on."""

import asyncio
import hashlib

import pytest
from minio.error import S3Error

from districam_common.contract import names
from districam_common.contract.events import SegmentStored
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.settings import KafkaSettings, S3Settings
from districam_common.s3.blobs import create_client, create_connection_pool
from districam_common.s3.hold_store import HoldStore
from districam_common.s3.versioned_bucket import ObjectVersion, VersionedBucket
from districam_indexer.core.operations import to_batch
from districam_indexer.core.plan import plan_stored
from districam_indexer.expiry import Expirer, ExpiryRequest, ExpiryResult
from districam_indexer.rate_limiter import RateLimiter
from integration.test_holds import locked
from integration.test_recorder import SITE, Bench, bench, mark, recorder
from integration.test_retention import Archive, in_process
from support.announcements import S, segment
from support.fragments import fragment

__all__ = ["bench", "locked"]

pytestmark = [pytest.mark.hostile, pytest.mark.timeout(120)]


async def record(bench: Bench) -> SegmentStored:
    """Records a closed segment of the current time."""
    camera, epoch = bench.camera(), bench.epoch()
    await bench.publish(fragment(camera, epoch, 0, starts=True), fragment(camera, epoch, 1, ends="epoch"))
    (stored,) = await bench.until_recorded()
    return stored


async def versions_of(bucket: VersionedBucket, key: str) -> list[ObjectVersion]:
    return [one async for one in bucket.versions(key)]


def with_bucket(s3: S3Settings, bench: Bench) -> Bench:
    """The same bench with the bucket of `s3`."""
    bench.env["DISTRICAM_S3__BUCKET"] = s3.bucket
    return bench


async def test_a_new_segment_is_locked_against_deletion_and_overwriting(bench: Bench, s3: S3Settings):
    s3 = s3.model_copy(update={"bucket": f"{s3.bucket}-locked"})
    async with VersionedBucket.open(s3) as bucket:
        await bucket.create_bucket(object_lock=True)
        await mark(bucket, SITE)
        async with recorder(with_bucket(s3, bench), DISTRICAM_RECORDER__LOCK_H="2"):
            before_us = SystemClock().now_us()
            stored = await record(bench)
        (version,) = await versions_of(bucket, stored.key)
        until_us = await bucket.retained_until_us(stored.key, version.version_id)
        assert before_us + 2 * HOUR_US - S <= until_us <= SystemClock().now_us() + 2 * HOUR_US
        assert await bucket.delete_versions([version]) == [version]
        store = create_client(s3, create_connection_pool(s3))
        with pytest.raises(S3Error):
            await asyncio.to_thread(store.remove_object, s3.bucket, stored.key, version.version_id)
        # a delete marker: it hides the object and can be removed
        await asyncio.to_thread(store.remove_object, s3.bucket, stored.key)
        assert version.key in {one.key for one in await versions_of(bucket, stored.key) if not one.is_delete_marker}
        assert version.version_id in {one.version_id for one in await versions_of(bucket, stored.key)}


@pytest.mark.parametrize(("lock_h", "object_lock"), [("0", True), ("24", False)], ids=["no hours", "no object lock"])
async def test_without_object_lock_segments_are_stored_unlocked(
    bench: Bench, s3: S3Settings, lock_h: str, *, object_lock: bool
):
    s3 = s3.model_copy(update={"bucket": f"{s3.bucket}-{object_lock}".lower()})
    async with VersionedBucket.open(s3) as bucket:
        await bucket.create_bucket(object_lock=object_lock)
        await mark(bucket, SITE)
        async with recorder(with_bucket(s3, bench), DISTRICAM_RECORDER__LOCK_H=lock_h) as running:
            stored = await record(bench)
            assert ("new segments are not locked" in running.events()) is not object_lock
        (version,) = await versions_of(bucket, stored.key)
        assert await bucket.retained_until_us(stored.key, version.version_id) == 0
        assert await bucket.delete_versions([version]) == []


# ---- retention


async def put_locked(archive: Archive, start_us: int, seq: int, until_us: int | None) -> SegmentStored:
    made = segment(archive.camera_id, first_seq=seq, start_us=start_us, size=100)
    body = bytes(made.bytes)
    digest = hashlib.sha256(body).hexdigest()
    await archive.bucket.put(
        made.key, [body], content_type="video/mp4", metadata={}, sha256=digest, once=True, locked_until_us=until_us
    )
    return made


async def test_a_locked_hour_is_expired_only_after_its_lock_ends(locked: Archive, s3: S3Settings, kafka: KafkaSettings):
    """Two hours of old footage: the older expires; the lock of the younger, set by another client, ends soon."""
    until_us = (SystemClock().now_us() // S + 8) * S
    older_us, younger_us = locked.edge_us - 2 * HOUR_US, locked.edge_us - HOUR_US
    async with in_process(locked, s3, kafka) as dependencies:
        gone = await put_locked(locked, older_us, 0, None)
        kept = await put_locked(locked, younger_us, 5, until_us)
        operations = [one for made in (gone, kept) for one in plan_stored(made)]
        await dependencies.writer.apply(to_batch(operations), build="b")
        expiry = Expirer(dependencies, HoldStore(locked.bucket), RateLimiter(dependencies.runtime, 1000))

        async def round_of() -> ExpiryResult:
            now_us = SystemClock().now_us()
            return await expiry.run(ExpiryRequest(locked.camera_id, locked.edge_us, "old", [], now_us), build="b")

        outcome = await round_of()
        assert (outcome.locked_hours, outcome.locked_keys, outcome.deleted) == ([younger_us], [], 1)
        assert await locked.district.reader.expired_intervals([locked.camera_id]) == {
            locked.camera_id: [(older_us, younger_us)]
        }
        assert await locked.keys() == {kept.key}
        assert await locked.indexed(older_us, locked.edge_us) == [names.entry_of(kept)]
        async with asyncio.timeout(30):
            while SystemClock().now_us() <= until_us + S:
                await asyncio.sleep(0.1)
        outcome = await round_of()
        assert (outcome.locked_hours, outcome.locked_keys, outcome.deleted) == ([], [], 1)
        assert await locked.keys() == set()
        assert await locked.indexed(older_us, locked.edge_us) == []


async def test_a_locked_segment_stays_indexed_and_reported_and_blocks_nothing(
    locked: Archive, s3: S3Settings, kafka: KafkaSettings
):
    """Retention does not check every lock in an hour: what the store refuses to delete stays indexed."""
    start_us, until_us = locked.edge_us - HOUR_US, SystemClock().now_us() + DAY_US
    async with in_process(locked, s3, kafka) as dependencies:
        kept = await put_locked(locked, start_us, 0, until_us)
        last = await put_locked(locked, start_us + 600 * S, 5, None)
        operations = [one for made in (kept, last) for one in plan_stored(made)]
        await dependencies.writer.apply(to_batch(operations), build="b")
        expiry = Expirer(dependencies, HoldStore(locked.bucket), RateLimiter(dependencies.runtime, 1000))
        for deleted in (1, 0):
            now_us = SystemClock().now_us()
            outcome = await expiry.run(ExpiryRequest(locked.camera_id, locked.edge_us, "old", [], now_us), build="b")
            assert (outcome.locked_hours, outcome.locked_keys, outcome.deleted) == ([], [kept.key], deleted)
        assert await locked.keys() == {kept.key}
        assert await locked.indexed(start_us, locked.edge_us) == [names.entry_of(kept)]
