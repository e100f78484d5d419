"""Rebuilds the index: from the bucket (`bucket_reader`), then `cameras`, holds, `streams` and `retention`.

The group's members read the last two topics meanwhile, and `segments` from its end as of before the LIST:
objects are stored before they are announced, so everything announced by then is listed.
"""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from districam_common.contract import names, wire
from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.index.index_reader import Meta
from districam_common.index.redis_client import RedisUnavailable
from districam_common.kafka.consumer import KafkaInspector, TopicReader
from districam_common.runtime.service import leaf_errors
from districam_common.runtime.unreadable import record_unreadable
from districam_common.s3.hold_store import HoldStore
from districam_common.s3.versioned_bucket import VersionedBucket
from districam_indexer import watermark
from districam_indexer.apply import Applier
from districam_indexer.bucket_reader import BucketReader
from districam_indexer.core.operations import Operation, to_batch
from districam_indexer.core.plan import plan_event
from districam_indexer.dependencies import Dependencies
from districam_indexer.index_store.index_state import is_writable
from districam_indexer.index_store.index_writer import IndexChanged

log = structlog.get_logger()

_CHECK_INTERVAL_S = 1.0
_MEMBERS_POLL_S = 0.2
_PROGRESS_INTERVAL_S = 1.0


async def run(deps: Dependencies, bucket: VersionedBucket, *, is_forced: bool = False) -> None:
    """Until the service stops, rebuilds the index whenever it is missing; if `is_forced`, first in any case.

    Raises:
        Fatal: Redis holds another site's index, or one of another schema under our keys.
    """
    while not deps.runtime.stopping.is_set():
        try:
            if await _ensure_index(deps, bucket, is_forced=is_forced):
                is_forced = False
        except IndexChanged as change:
            log.warning("index rebuild abandoned", why=str(change))
        except RedisUnavailable as error:
            deps.runtime.health.report_failing("redis", str(error))
        except (Retriable, Rejected) as error:
            deps.runtime.health.report_failing("index", str(error))
        await deps.runtime.wait_stopping(_CHECK_INTERVAL_S)


async def _ensure_index(deps: Dependencies, bucket: VersionedBucket, *, is_forced: bool) -> bool:
    """Whether the index is ready. If not, or if `is_forced`, rebuilds it unless another instance has the lock."""
    meta = await deps.index.meta()
    deps.runtime.health.report_ok("redis")
    if meta is not None and meta.site != deps.settings.site:
        raise Fatal(
            f"Redis holds the index of site {meta.site!r}, not of {deps.settings.site!r}: correct DISTRICAM_SITE or "
            f"DISTRICAM_REDIS__URL"
        )
    if meta is not None and meta.schema != names.SCHEMA:
        raise Fatal(
            f"the index under {names.PREFIX} in Redis has schema {meta.schema!r}, not {names.SCHEMA!r}: it was not "
            f"written by districam and is left unchanged; use another Redis for this site"
        )
    if meta is not None and meta.is_ready and not is_forced:
        await _report_health(deps, meta)
        return True
    deps.runtime.health.report_failing("index", "being rebuilt")
    instance = deps.runtime.instance
    if not await deps.state.acquire_rebuild_lock(instance, deps.settings.indexer.rebuild_lock_s):
        return False
    async with KafkaInspector.open(deps.settings.kafka, client_id=instance) as inspector:
        await _Rebuilder(deps, bucket, inspector).run(None if is_forced else meta)
    await deps.state.release_rebuild_lock(instance)
    deps.runtime.health.report_ok("index")
    return True


async def _report_health(deps: Dependencies, meta: Meta) -> None:
    partitions = await deps.publisher.partitions(names.FRAGMENTS)
    if partitions == meta.partitions:
        deps.runtime.health.report_ok("index")
        return
    detail = f"built for {meta.partitions} partitions of {names.FRAGMENTS}, which has {partitions}"
    deps.runtime.health.report_failing("index", f"{detail}: run districam-indexer rebuild")


class _Rebuilder:
    """One rebuild. Every step is idempotent and may be resumed by another instance."""

    def __init__(self, deps: Dependencies, bucket: VersionedBucket, inspector: KafkaInspector) -> None:
        self._deps = deps
        self._bucket = bucket
        self._inspector = inspector

    async def run(self, meta: Meta | None) -> None:
        """Resumes the rebuild described by `meta`, or begins one.

        Raises:
            IndexChanged: another instance has begun a rebuild, or has taken over this one.
            Retriable: the store, the broker or Redis is unavailable, or the service stops.
        """
        build = meta.build if meta is not None and is_writable(meta) else await self._begin()
        log.info("index rebuild begun", build=build)
        bucket_reader = await self._read_bucket(build)
        await self._read_cameras(build)
        await self._read_holds(build)
        await self._wait_members(build)
        fragments = await self._inspector.partitions(names.FRAGMENTS)
        await watermark.update_watermarks(self._deps, self._inspector, build=build, partitions=len(fragments))
        await self._deps.state.finish(build=build)
        log.info(
            "index rebuilt",
            build=build,
            objects=bucket_reader.objects,
            objects_s=bucket_reader.objects_per_s,
            epochs=bucket_reader.epochs,
        )

    async def _begin(self) -> str:
        fragments = await self._inspector.partitions(names.FRAGMENTS)
        segments = await self._inspector.partitions(names.SEGMENTS)
        streams = await self._inspector.partitions(names.STREAMS)
        retention = await self._inspector.partitions(names.RETENTION)
        await self._deps.state.clear(site=self._deps.settings.site, partitions=len(fragments))
        positions = {
            **await self._inspector.end_offsets(segments),
            **await self._inspector.beginning_offsets([*streams, *retention]),
        }
        build = secrets.token_hex(8)
        await self._deps.state.begin(build, positions)
        return build

    async def _read_bucket(self, build: str) -> BucketReader:
        """Reads the remaining days of the bucket; reports progress and renews the lock meanwhile."""
        reader = BucketReader(self._deps, self._bucket, build)
        is_read = asyncio.Event()

        async def report() -> None:
            while not is_read.is_set():
                await self._report_progress(reader.progress(), build)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PROGRESS_INTERVAL_S):
                        await is_read.wait()

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(report())
                await reader.run()
                is_read.set()
        except* DistricamError as group:
            raise leaf_errors(group)[0] from group
        await self._report_progress(reader.progress(), build)
        return reader

    async def _read_holds(self, build: str) -> None:
        """Indexes the events archived with the holds, which may have expired from the topic."""
        store = HoldStore(self._bucket)
        for hold in (await store.list_active()).readable:
            operations: list[Operation] = []
            for text in (*hold.events, *hold.fell, *await _read_archived_events(store, hold.id)):
                try:
                    event, append_us = wire.decode_indexed_event(text.encode())
                    operations += plan_event(event, append_us)
                except Rejected as error:
                    record_unreadable("held event", hold.id, str(error))
            await self._deps.writer.apply(to_batch(operations), build=build)

    async def _read_cameras(self, build: str) -> None:
        kafka, size = self._deps.settings.kafka, self._deps.settings.indexer.batch_records
        async with TopicReader.open(kafka, [names.CAMERAS], client_id=self._deps.runtime.instance) as reader:
            records = await reader.read_all()
        applier = Applier(self._deps)
        for n in range(0, len(records), size):
            await applier.apply(records[n : n + size], build=build)

    async def _wait_members(self, build: str) -> None:
        """Waits until the group's members have applied the topics up to their present ends (after the LIST)."""
        segments = await self._inspector.partitions(names.SEGMENTS)
        streams = await self._inspector.partitions(names.STREAMS)
        retention = await self._inspector.partitions(names.RETENTION)
        ends = await self._inspector.end_offsets([*segments, *streams, *retention])
        while True:
            applied = await self._deps.writer.read_positions()
            records_left = sum(max(0, end - applied.get(partition, 0)) for partition, end in ends.items())
            if not records_left:
                return
            await self._report_progress({"step": "topics", "records_left": records_left}, build)
            if await self._deps.runtime.wait_stopping(_MEMBERS_POLL_S):
                raise Retriable("the service is stopping")

    async def _report_progress(self, progress: Mapping[str, Any], build: str) -> None:
        """Writes the progress for the api and renews the lock.

        Raises:
            Retriable: the service stops.
            IndexChanged: another instance has the lock.
        """
        deps = self._deps
        if deps.runtime.stopping.is_set():
            raise Retriable("the service is stopping")
        if not await deps.state.acquire_rebuild_lock(deps.runtime.instance, deps.settings.indexer.rebuild_lock_s):
            raise IndexChanged("another replica has taken over the rebuild")
        await deps.state.write_progress(progress, build=build)


async def _read_archived_events(store: HoldStore, hold_id: str) -> tuple[str, ...]:
    """Events of a hold's window that were archived after it had been placed, encoded."""
    archived = await store.get_events(hold_id)
    return (*archived.events, *archived.fell) if archived else ()
