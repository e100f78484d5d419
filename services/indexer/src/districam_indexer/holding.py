"""Applies holds: a legal hold on each version in a held window, on those stored later too; tells how far that has come."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from redis.asyncio import Redis

from districam_common import names, wire
from districam_common.errors import Rejected, Retriable
from districam_common.hold_store import HoldStore
from districam_common.holds import Hold, HoldState, cached_form
from districam_common.intervals import touches
from districam_common.redis_door import redis_errors
from districam_common.vault import Vault
from districam_indexer import metrics
from districam_indexer.consume import Consumption
from districam_indexer.core.holding import Found, Work, hours_of, is_open, needless, state_of, work_of
from districam_indexer.doors import Doors

log = structlog.get_logger()

_AT_ONCE = 64
_LOOK_AGAIN_US = 600_000_000
"""At a window that is closed and held, where nothing has arrived: somebody may have deleted there."""


@dataclass(slots=True)
class _Applied:
    """What this process has done for a hold; a new one does it again, which is harmless."""

    versions: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    state: HoldState | None = None
    looked_us: int = 0
    has_more: bool = False


class Holding:
    """One loop."""

    def __init__(self, doors: Doors, consumption: Consumption, redis: Redis) -> None:
        self._doors = doors
        self._consumption = consumption
        self._redis = redis
        self._store = HoldStore(doors.vault)
        self._applied: dict[str, _Applied] = {}
        self._protects: bool | None = None

    async def run(self) -> None:
        """Until the service stops."""
        while not self._doors.runtime.stopping.is_set():
            try:
                await self._look()
            except Retriable as error:
                log.warning("holds not applied", why=str(error))
            except Rejected as error:
                log.error("a hold cannot be read", why=str(error))
            await self._doors.runtime.stops_within(self._doors.settings.indexer.holds_s)

    async def _look(self) -> None:
        if self._protects is None:
            self._protects = await self._doors.vault.protects(self._doors.runtime.instance)
            log.info("holds", protection="enforced" if self._protects else "advisory")
        cached = await self._doors.index.holds()
        holds = await self._store.all()
        await self._cache(cached, holds)
        ours = await self._ours(holds)
        # Also those that another replica has taken over: what arrives for them is not known here.
        for hold_id in self._applied.keys() - {hold.id for hold in ours}:
            del self._applied[hold_id]
        self._see_arrivals(ours)
        for hold in ours:
            await self._apply(hold, is_protected=self._protects)
        states = Counter(state.state for hold in ours if (state := self._applied[hold.id].state))
        for name in ("enforced", "advisory", "partial"):
            metrics.holds.labels(name).set(states[name])

    async def _ours(self, holds: Sequence[Hold]) -> list[Hold]:
        if not holds:
            return []
        count = await self._doors.publisher.partitions(names.SEGMENTS)
        ours = self._consumption.segment_partitions
        return [hold for hold in holds if names.partition_of(hold.camera_id, count) in ours]

    def _see_arrivals(self, ours: Sequence[Hold]) -> None:
        """Footage may come long after its window has closed: its recorder waited for the store."""
        arrived = self._doors.arrivals.take()
        for hold in ours:
            applied = self._applied.get(hold.id)
            if applied and touches(arrived.get(hold.camera_id, []), hold.from_us, hold.to_us):
                applied.has_more = True

    async def _cache(self, cached: Mapping[str, bytes], holds: Sequence[Hold]) -> None:
        """The api lists holds from Redis; the bucket has them."""
        fields = {hold.id: cached_form(hold) for hold in holds}
        new = {one: body for one, body in fields.items() if cached.get(one) != body}
        old = needless([*cached, *await self._doors.index.hold_states()], holds)
        with redis_errors("caching the holds"):
            if new:
                await self._redis.hset(names.HOLDS, mapping={**new})
            if old:
                await self._redis.hdel(names.HOLDS, *old)
                await self._redis.hdel(names.HOLD_STATES, *old)

    async def _apply(self, hold: Hold, *, is_protected: bool) -> None:
        applied = self._applied.setdefault(hold.id, _Applied())
        if not await self._is_due(hold, applied):
            return
        work = work_of(hold, await self._found(hold))
        if work.markers:
            await self._undelete(hold, work)
        missing = [one for one in work.versions if (one.key, one.version) not in applied.versions]
        for n in range(0, len(missing) if is_protected else 0, _AT_ONCE):
            await self._tell(hold, work, applied, is_protected=is_protected)
            await self._hold(missing[n : n + _AT_ONCE], applied)
        await self._tell(hold, work, applied, is_protected=is_protected)
        applied.looked_us, applied.has_more = self._doors.runtime.clock.monotonic_us(), False

    async def _is_due(self, hold: Hold, applied: _Applied) -> bool:
        if applied.state is None or applied.state.state == "partial" or applied.has_more:
            return True
        if self._doors.runtime.clock.monotonic_us() - applied.looked_us >= _LOOK_AGAIN_US:
            return True
        settle_us = round(self._doors.settings.indexer.settle_s * 1e6)
        return is_open(hold, await self._doors.index.log_us(hold.camera_id), settle_us)

    async def _found(self, hold: Hold) -> list[Found]:
        """All versions of the hours of its window; of a long one only the hours that exist."""
        prefixes = {names.hour_prefix(hold.camera_id, hour_us) for hour_us in hours_of(hold)}
        days = sorted({f"{prefix.rsplit('/', 2)[0]}/" for prefix in prefixes})
        there = [hour for day in days for hour in await self._doors.vault.folders(day) if hour in prefixes]
        return [
            Found(one.key, one.version or "", one.size, one.is_marker)
            for hour in there
            async for one in self._doors.vault.every_version(hour)
        ]

    async def _undelete(self, hold: Hold, work: Work) -> None:
        """Somebody deleted held footage without naming a version: it is still there, and is to be found by its key again."""
        keys = sorted({one.key for one in work.markers})
        log.warning(
            "held footage was deleted, and is brought back", hold=hold.id, objects=len(keys), first=keys[0]
        )
        await self._doors.vault.delete_markers([(one.key, one.version) for one in work.markers])

    async def _hold(self, some: Sequence[Found], applied: _Applied) -> None:
        async def one(found: Found) -> None:
            if await _is_put_on_hold(self._doors.vault, found):
                applied.versions.add((found.key, found.version))

        async with asyncio.TaskGroup() as tasks:
            for found in some:
                tasks.create_task(one(found))

    async def _tell(self, hold: Hold, work: Work, applied: _Applied, *, is_protected: bool) -> None:
        now_us = self._doors.runtime.clock.now_us()
        held = sum((one.key, one.version) in applied.versions for one in work.versions)
        state = state_of(work, held, is_protected=is_protected, now_us=now_us)
        if applied.state is None or applied.state.state != state.state:
            log.info("hold", id=hold.id, state=state.state, versions=state.versions, held=state.held)
        applied.state = state
        with redis_errors("telling the state of a hold"):
            await self._redis.hset(names.HOLD_STATES, hold.id, wire.json_bytes(state))


async def _is_put_on_hold(vault: Vault, found: Found) -> bool:
    try:
        await vault.hold(found.key, found.version)
    except Rejected as error:  # deleted meanwhile
        log.warning("not held", key=found.key, why=str(error))
        return False
    return True
