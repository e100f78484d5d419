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
from districam_common.index.redis_door import RedisAway
from districam_common.kafka.consumer import Groups, Reader
from districam_common.runtime.service import leaves
from districam_common.runtime.unread import pass_over
from districam_common.s3.hold_store import HoldStore
from districam_common.s3.vault import Vault
from districam_indexer import logged
from districam_indexer.apply import Applier
from districam_indexer.bucket_reader import BucketReader
from districam_indexer.core.operations import Operation, gathered
from districam_indexer.core.plan import plan_event
from districam_indexer.doors import Doors
from districam_indexer.index_state import is_usable
from districam_indexer.index_writer import IndexChanged

log = structlog.get_logger()

_LOOK_EVERY_S = 1.0
_WAIT_S = 0.2
_TELL_EVERY_S = 1.0


async def run(doors: Doors, vault: Vault, *, anew: bool = False) -> None:
    """Sees to it that there is an index, until the service stops; `anew`: makes a new one first.

    Raises:
        Fatal: Redis holds another site's index, or one that is not of our schema.
    """
    while not doors.runtime.stopping.is_set():
        try:
            if await _look(doors, vault, anew=anew):
                anew = False
        except IndexChanged as change:
            log.warning("rebuild given up", why=str(change))
        except RedisAway as error:
            doors.runtime.health.failing("redis", str(error))
        except (Retriable, Rejected) as error:
            doors.runtime.health.failing("index", str(error))
        await doors.runtime.stops_within(_LOOK_EVERY_S)


async def _look(doors: Doors, vault: Vault, *, anew: bool) -> bool:
    """Whether there is a whole index, `anew` considered; makes one if nobody else does."""
    meta = await doors.index.meta()
    doors.runtime.health.ok("redis")
    if meta is not None and meta.site != doors.settings.site:
        raise Fatal(
            f"Redis holds the index of site {meta.site!r}, not of {doors.settings.site!r}: mend DISTRICAM_SITE or "
            f"DISTRICAM_REDIS__URL"
        )
    if meta is not None and meta.schema != names.SCHEMA:
        raise Fatal(
            f"the index under {names.PREFIX} in Redis says that it is of schema {meta.schema!r}, not {names.SCHEMA!r}: nothing "
            f"of ours has written that, and it is left alone; give this site a Redis of its own"
        )
    if meta is not None and meta.is_ready and not anew:
        await _tell_health(doors, meta)
        return True
    doors.runtime.health.failing("index", "being rebuilt")
    instance = doors.runtime.instance
    if not await doors.state.claim(instance, doors.settings.indexer.rebuild_lock_s):
        return False
    async with Groups.open(doors.settings.kafka, client_id=instance) as groups:
        await _Rebuild(doors, vault, groups).run(None if anew else meta)
    await doors.state.release(instance)
    doors.runtime.health.ok("index")
    return True


async def _tell_health(doors: Doors, meta: Meta) -> None:
    partitions = await doors.publisher.partitions(names.FRAGMENTS)
    if partitions == meta.partitions:
        doors.runtime.health.ok("index")
        return
    why = f"made for {meta.partitions} partitions of {names.FRAGMENTS}, which has {partitions}"
    doors.runtime.health.failing("index", f"{why}: districam-indexer rebuild")


class _Rebuild:
    """One rebuild; every step may be repeated, by anyone."""

    def __init__(self, doors: Doors, vault: Vault, groups: Groups) -> None:
        self._doors = doors
        self._vault = vault
        self._groups = groups

    async def run(self, meta: Meta | None) -> None:
        """Goes on with the rebuild that `meta` tells of, or begins one.

        Raises:
            IndexChanged: somebody else has begun one meanwhile, or goes on with this one.
            Retriable: the store, the broker or Redis is away, or the service stops.
        """
        build = meta.build if meta is not None and is_usable(meta) else await self._begin()
        log.info("index rebuild begun", build=build)
        read = await self._read_bucket(build)
        await self._read_cameras(build)
        await self._read_holds(build)
        await self._await_members(build)
        fragments = await self._groups.partitions(names.FRAGMENTS)
        await logged.look(self._doors, self._groups, build=build, partitions=len(fragments))
        await self._doors.state.finish(build=build)
        log.info(
            "index rebuilt", build=build, objects=read.objects, objects_s=read.objects_s, epochs=read.epochs
        )

    async def _begin(self) -> str:
        fragments = await self._groups.partitions(names.FRAGMENTS)
        segments = await self._groups.partitions(names.SEGMENTS)
        streams = await self._groups.partitions(names.STREAMS)
        retention = await self._groups.partitions(names.RETENTION)
        await self._doors.state.clear(site=self._doors.settings.site, partitions=len(fragments))
        positions = {
            **await self._groups.ends(segments),
            **await self._groups.beginnings([*streams, *retention]),
        }
        build = secrets.token_hex(8)
        await self._doors.state.begin(build, positions)
        return build

    async def _read_bucket(self, build: str) -> BucketReader:
        """Whatever of it is not read yet; tells how far it is, and keeps the claim, meanwhile."""
        reader = BucketReader(self._doors, self._vault, build)
        is_read = asyncio.Event()

        async def tell() -> None:
            while not is_read.is_set():
                await self._tell(reader.progress(), build)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TELL_EVERY_S):
                        await is_read.wait()

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(tell())
                await reader.run()
                is_read.set()
        except* DistricamError as group:
            raise leaves(group)[0] from group
        await self._tell(reader.progress(), build)
        return reader

    async def _read_holds(self, build: str) -> None:
        """What holds have kept of the events that explain their windows; the topic may have forgotten them."""
        store = HoldStore(self._vault)
        for hold in (await store.all()).read:
            operations: list[Operation] = []
            for text in (*hold.events, *hold.fell, *await _told_later(store, hold.id)):
                try:
                    event, appended_us = wire.parse_indexed(text.encode())
                    operations += plan_event(event, appended_us)
                except Rejected as error:
                    pass_over("held event", hold.id, str(error))
            await self._doors.writer.apply(gathered(operations), build=build)

    async def _read_cameras(self, build: str) -> None:
        kafka, size = self._doors.settings.kafka, self._doors.settings.indexer.batch_records
        async with Reader.open(kafka, [names.CAMERAS], client_id=self._doors.runtime.instance) as reader:
            records = await reader.read_all()
        applier = Applier(self._doors)
        for n in range(0, len(records), size):
            await applier.apply(records[n : n + size], build=build)

    async def _await_members(self, build: str) -> None:
        """Until the group's members have read all that was in the topics when the bucket had been listed."""
        segments = await self._groups.partitions(names.SEGMENTS)
        streams = await self._groups.partitions(names.STREAMS)
        retention = await self._groups.partitions(names.RETENTION)
        ends = await self._groups.ends([*segments, *streams, *retention])
        while True:
            applied = await self._doors.writer.applied()
            left = sum(max(0, end - applied.get(place, 0)) for place, end in ends.items())
            if not left:
                return
            await self._tell({"step": "topics", "records_left": left}, build)
            if await self._doors.runtime.stops_within(_WAIT_S):
                raise Retriable("asked to stop")

    async def _tell(self, progress: Mapping[str, Any], build: str) -> None:
        """Also keeps the claim, or gives up."""
        doors = self._doors
        if doors.runtime.stopping.is_set():
            raise Retriable("asked to stop")
        if not await doors.state.claim(doors.runtime.instance, doors.settings.indexer.rebuild_lock_s):
            raise IndexChanged("another replica goes on with the rebuild")
        await doors.state.tell(progress, build=build)


async def _told_later(store: HoldStore, hold_id: str) -> tuple[str, ...]:
    """What was told of a hold's window after it had been placed."""
    kept = await store.explanation(hold_id)
    return (*kept.events, *kept.fell) if kept else ()
