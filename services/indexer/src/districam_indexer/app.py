"""Builds the indexer: a task for each loop. If one fails, the process ends, for its supervisor to restart."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from redis.asyncio import Redis

from districam_common.contract.names import format_rfc3339
from districam_common.index.hold_cache import HoldCache
from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_client import open_redis
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime, retry_dependency
from districam_common.s3 import cutover
from districam_common.s3.versioned_bucket import VersionedBucket
from districam_indexer import cameras, rebuild, watermark
from districam_indexer.consumer import Consumer
from districam_indexer.core.hold_rules import AnnouncedIntervals
from districam_indexer.dependencies import Dependencies
from districam_indexer.gauges import CoverageGauges
from districam_indexer.hold_applier import HoldApplier
from districam_indexer.index_store.eviction import Evictor
from districam_indexer.index_store.index_state import IndexState
from districam_indexer.index_store.index_writer import IndexWriter
from districam_indexer.index_store.usage import UsageCounter
from districam_indexer.retention import Retention
from districam_indexer.settings import Settings

log = structlog.get_logger()

_READY_POLL_S = 0.5


async def main(settings: Settings, runtime: Runtime) -> None:
    """Indexes until asked to stop; rebuilds the index if it is missing."""
    await _run(settings, runtime, is_rebuild=False)


async def rebuild_once(settings: Settings, runtime: Runtime) -> None:
    """Rebuilds the index, also an existing one, and stops."""
    await _run(settings, runtime, is_rebuild=True)


async def _run(settings: Settings, runtime: Runtime, *, is_rebuild: bool) -> None:
    runtime.health.declare("kafka", "redis", "s3", "index")
    async with AsyncExitStack() as stack:
        bucket = await stack.enter_async_context(VersionedBucket.open(settings.s3))
        await retry_dependency(lambda: bucket.require_site(settings.site), runtime, "s3")
        redis = await stack.enter_async_context(open_redis(settings.redis))
        until_us = await _streams_until_us(runtime, bucket, IndexReader(redis))
        deps = await stack.enter_async_context(_open_dependencies(settings, runtime, bucket, redis, until_us))
        consumer = Consumer(deps)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rebuild.run(deps, bucket, is_forced=is_rebuild))
            tasks.create_task(retry_dependency(consumer.run, runtime, "kafka"))
            tasks.create_task(cameras.run(deps))
            tasks.create_task(watermark.run(deps, consumer))
            tasks.create_task(CoverageGauges(deps, consumer).run())
            if is_rebuild:
                tasks.create_task(_stop_when_ready(runtime))
            else:
                tasks.create_task(Retention(deps, consumer, UsageCounter(redis, deps.writer, runtime)).run())
                tasks.create_task(HoldApplier(deps, consumer, HoldCache(redis)).run())


async def _streams_until_us(runtime: Runtime, bucket: VersionedBucket, index: IndexReader) -> int:
    """The last append time (µs) at which `expired` is accepted on `streams`.

    For a site of an earlier version it is set here, once: not before the latest watermark, so that a host's
    clock that is behind does not invalidate events of indexers that still run that version.
    """
    found = await retry_dependency(lambda: cutover.read(bucket), runtime, "s3")
    if found is None:
        watermarks_us = await retry_dependency(index.watermarks_us, runtime, "redis")
        until_us = max(runtime.clock.now_us(), *watermarks_us.values(), 0) + cutover.GRACE_US
        found = await retry_dependency(lambda: cutover.ensure(bucket, until_us), runtime, "s3")
        log.info("expired events move to the topic retention", streams_until=format_rfc3339(found.streams_until_us))
    return found.streams_until_us


async def _stop_when_ready(runtime: Runtime) -> None:
    while not runtime.health.is_ready:
        if await runtime.wait_stopping(_READY_POLL_S):
            return
    runtime.stopping.set()


@asynccontextmanager
async def _open_dependencies(
    settings: Settings, runtime: Runtime, bucket: VersionedBucket, redis: Redis, streams_until_us: int
) -> AsyncGenerator[Dependencies]:
    async with Publisher.open(settings.kafka, runtime.instance) as publisher:
        writer = IndexWriter(redis, still_ttl_s=settings.indexer.still_ttl_s)
        yield Dependencies(
            settings, runtime, publisher, IndexReader(redis), writer, IndexState(redis), Evictor(redis, writer), bucket, AnnouncedIntervals(),
            streams_until_us,
        )  # fmt: skip
