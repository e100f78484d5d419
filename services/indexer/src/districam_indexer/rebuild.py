"""An index for those who have none: the bucket (`bucket_reader`), then `cameras`, holds, `streams` and `retention`.

The members of the group read the last two into it meanwhile, and `segments` from where it ended before the LIST: an object
is stored before it is announced, so what was announced by then is listed.
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
from districam_indexer.index_state import is_writable
from districam_indexer.index_writer import IndexChanged

log = structlog.get_logger()

_CHECK_INTERVAL_S = 1.0
_MEMBERS_POLL_S = 0.2
_PROGRESS_INTERVAL_S = 1.0


async def run(deps: Dependencies, bucket: VersionedBucket, *, is_forced: bool = False) -> None:
    """Sees to it that there is an index, until the service stops; `is_forced`: makes a new one first.

    Raises:
        Fatal: Redis holds another site's index, or one that is not of our schema.
    """
    while not deps.runtime.stopping.is_set():
        try:
            if await _ensure_index(deps, bucket, is_forced=is_forced):
                is_forced = False
        except IndexChanged as change:
            log.warning("rebuild given up", why=str(change))
        except RedisUnavailable as error:
            deps.runtime.health.report_failing("redis", str(error))
        except (Retriable, Rejected) as error:
            deps.runtime.health.report_failing("index", str(error))
        await deps.runtime.wait_stopping(_CHECK_INTERVAL_S)


async def _ensure_index(deps: Dependencies, bucket: VersionedBucket, *, is_forced: bool) -> bool:
    """Whether there is a whole index, `is_forced` considered; makes one if nobody else does."""
    meta = await deps.index.meta()
    deps.runtime.health.report_ok("redis")
    if meta is not None and meta.site != deps.settings.site:
        raise Fatal(
            f"Redis holds the index of site {meta.site!r}, not of {deps.settings.site!r}: mend DISTRICAM_SITE or "
            f"DISTRICAM_REDIS__URL"
        )
    if meta is not None and meta.schema != names.SCHEMA:
        raise Fatal(
            f"the index under {names.PREFIX} in Redis says that it is of schema {meta.schema!r}, not {names.SCHEMA!r}: nothing "
            f"of ours has written that, and it is left alone; give this site a Redis of its own"
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
    detail = f"made for {meta.partitions} partitions of {names.FRAGMENTS}, which has {partitions}"
    deps.runtime.health.report_failing("index", f"{detail}: districam-indexer rebuild")


class _Rebuilder:
    """One rebuild; every step may be repeated, by anyone."""

    def __init__(self, deps: Dependencies, bucket: VersionedBucket, inspector: KafkaInspector) -> None:
        self._deps = deps
        self._bucket = bucket
        self._inspector = inspector

    async def run(self, meta: Meta | None) -> None:
        """Goes on with the rebuild that `meta` tells of, or begins one.

        Raises:
            IndexChanged: somebody else has begun one meanwhile, or goes on with this one.
            Retriable: the store, the broker or Redis is away, or the service stops.
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
        """Whatever of it is not read yet; tells how far it is, and keeps the claim, meanwhile."""
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
        """What holds have kept of the events that explain their windows; the topic may have forgotten them."""
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
        """Until the group's members have read all that was in the topics when the bucket had been listed."""
        segments = await self._inspector.partitions(names.SEGMENTS)
        streams = await self._inspector.partitions(names.STREAMS)
        retention = await self._inspector.partitions(names.RETENTION)
        ends = await self._inspector.end_offsets([*segments, *streams, *retention])
        while True:
            applied = await self._deps.writer.read_positions()
            records_left = sum(max(0, end - applied.get(place, 0)) for place, end in ends.items())
            if not records_left:
                return
            await self._report_progress({"step": "topics", "records_left": records_left}, build)
            if await self._deps.runtime.wait_stopping(_MEMBERS_POLL_S):
                raise Retriable("asked to stop")

    async def _report_progress(self, progress: Mapping[str, Any], build: str) -> None:
        """Also keeps the claim, or gives up."""
        deps = self._deps
        if deps.runtime.stopping.is_set():
            raise Retriable("asked to stop")
        if not await deps.state.acquire_rebuild_lock(deps.runtime.instance, deps.settings.indexer.rebuild_lock_s):
            raise IndexChanged("another replica goes on with the rebuild")
        await deps.state.write_progress(progress, build=build)


async def _read_archived_events(store: HoldStore, hold_id: str) -> tuple[str, ...]:
    """What was told of a hold's window after it had been placed."""
    archived = await store.get_events(hold_id)
    return (*archived.events, *archived.fell) if archived else ()
