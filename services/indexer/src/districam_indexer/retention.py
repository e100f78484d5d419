"""Retention: by each camera's days and by the budget, for the cameras whose `segments` partitions are this replica's."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from districam_common.contract import names
from districam_common.contract.events import Camera, FootageExpired
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.errors import Rejected, Retriable
from districam_common.index.revisions import is_known
from districam_common.ledger.causes import FOREVER
from districam_common.ledger.intervals import Interval
from districam_common.runtime.turns import in_turns
from districam_common.s3.hold_store import HoldStore
from districam_indexer import metrics
from districam_indexer.budget import Budget
from districam_indexer.consume import Consumption
from districam_indexer.core.retention import believed_now_us, edge_by_age
from districam_indexer.doors import Doors
from districam_indexer.expiry import Expiry, Outcome, Wanted
from districam_indexer.index_writer import IndexChanged
from districam_indexer.pacing import Pace
from districam_indexer.usage import Usage

log = structlog.get_logger()

_REPEAT_US = DAY_US
"""What has expired is said again, so that it outlives the topic."""
_LOCKED_AGAIN_US = HOUR_US
"""Until what the store would not let go is tried again."""
_COUNT_AGAIN_US = 600_000_000
"""While indexers of an earlier version run beside this one."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is looked at together, at one moment."""

    build: str
    now_us: int
    records: Mapping[str, Camera]
    held: Mapping[str, list[Interval]]


class Retention:
    """One loop."""

    def __init__(self, doors: Doors, consumption: Consumption, usage: Usage) -> None:
        self._doors = doors
        self._consumption = consumption
        self._usage = usage
        self._store = HoldStore(doors.vault)
        self._pace = Pace(doors.runtime, doors.settings.indexer.retention_deletes_s)
        self._expiry = Expiry(doors, self._store, self._pace)
        max_bytes = doors.settings.storage.max_bytes
        self._lock_us = doors.settings.recorder.lock_us if doors.settings.s3.object_lock else 0
        self._budget = None if max_bytes is None else Budget(usage, max_bytes, self._lock_us)
        self._counted_us: int | None = None
        self._done: dict[str, tuple[object, int]] = {}
        self._repeated_us: dict[str, int] = {}

    async def run(self) -> None:
        """Until the service stops. Trouble puts it off: nothing is deleted on half the evidence."""
        while not self._doors.runtime.stopping.is_set():
            try:
                with metrics.round_of("retention"):
                    await self._look()
            except (Retriable, IndexChanged) as error:
                log.warning("retention put off", why=str(error))
            except Rejected as error:
                log.error("retention stands still", why=str(error))
            await self._doors.runtime.stops_within(self._doors.settings.indexer.retention_s)

    async def _look(self) -> None:
        seen = await self._see()
        if seen is None:
            return
        edges = await self._edges(seen)
        async for camera_id in in_turns(sorted(await self._ours())):
            if self._doors.runtime.stopping.is_set():
                return
            try:
                await self._keep_to(camera_id, seen, edges.get(camera_id, 0))
            except Rejected as error:
                log.error("retention of a camera stands still", camera_id=camera_id, why=str(error))

    async def _see(self) -> _Seen | None:
        """None while the index is not whole, or no progress of the recorders is known."""
        index = self._doors.index
        meta = await index.meta()
        if meta is None or not meta.is_ready or not self._consumption.segment_partitions:
            return None
        now_us = believed_now_us(self._doors.runtime.clock.now_us(), (await index.logged()).values())
        if not now_us:
            return None
        holds = await self._store.all()
        if unclear := [hold.id for hold in holds.unclear]:
            why = "a hold cannot be read, and it may be any camera's: nothing is let go"
            log.error("retention stands still", why=why, holds=unclear[:5])
            return None
        return _Seen(meta.build, now_us, await index.cameras(), holds.by_camera())

    async def _ours(self) -> set[str]:
        count = await self._doors.publisher.partitions(names.SEGMENTS)
        ours = self._consumption.segment_partitions
        known = await self._doors.index.camera_ids()
        return {camera_id for camera_id in known if names.partition_of(camera_id, count) in ours}

    async def _edges(self, seen: _Seen) -> Mapping[str, int]:
        """Camera → up to where the budget wants it emptied; nothing while nobody knows how much there is."""
        if self._budget is None or not await self._is_counted(seen.build):
            return {}
        days = {camera_id: record.retention_days for camera_id, record in seen.records.items()}
        return await self._budget.edges(days, seen.held, seen.now_us)

    async def _is_counted(self, build: str) -> bool:
        """Has the hours counted where that is due. Counts that are a little behind are better than none: they free less."""
        standing, now_us = await self._usage.standing(build), self._doors.runtime.clock.monotonic_us()
        is_due = self._counted_us is None or now_us - self._counted_us >= _COUNT_AGAIN_US
        if standing == "none" or (standing == "behind" and is_due):
            self._counted_us = now_us
            await self._usage.count(build)
            standing = await self._usage.standing(build)
        return standing != "none"

    async def _keep_to(self, camera_id: str, seen: _Seen, budget_edge_us: int) -> None:
        age_edge_us = edge_by_age(_known_days(seen, camera_id), seen.now_us, self._lock_us)
        edge_us = max(age_edge_us, budget_edge_us)
        goal = (seen.build, edge_us, seen.held.get(camera_id))
        if edge_us and self._is_new(camera_id, goal):
            reason = (
                "older than retention_days" if edge_us == age_edge_us else "over the budget storage.max_bytes"
            )
            indexed = sorted(await self._usage.bytes_by_hour(camera_id))
            wanted = Wanted(camera_id, edge_us, reason, indexed, seen.now_us)
            outcome = await self._expiry.run(wanted, build=seen.build)
            self._keep(camera_id, goal, outcome)
            if outcome.deleted or outcome.dropped:
                log.info(
                    "footage let go", camera_id=camera_id, before=names.rfc3339(edge_us), reason=reason,
                    deleted=outcome.deleted, dropped=outcome.dropped,
                )  # fmt: skip
        await self._repeat(camera_id, seen)

    def _is_new(self, camera_id: str, goal: object) -> bool:
        """Whether it is to be worked for: not done yet, or put off since the store kept something, and due again."""
        done, again_us = self._done.get(camera_id, (None, FOREVER))
        return done != goal or self._doors.runtime.clock.monotonic_us() >= again_us

    def _keep(self, camera_id: str, goal: object, outcome: Outcome) -> None:
        """Notes that the goal is reached as far as it can be; what the store keeps is tried again, not at once."""
        is_whole = not outcome.locked and not outcome.waits
        again_us = FOREVER if is_whole else self._doors.runtime.clock.monotonic_us() + _LOCKED_AGAIN_US
        self._done[camera_id] = (goal, again_us)
        if outcome.waits:
            first = names.rfc3339(outcome.waits[0])
            log.warning(
                "footage stays, locked in the store",
                camera_id=camera_id,
                hours=len(outcome.waits),
                first=first,
            )
        if outcome.locked:
            log.error("the store keeps what has expired", camera_id=camera_id, keys=outcome.locked[:5])

    async def _repeat(self, camera_id: str, seen: _Seen) -> None:
        if seen.now_us - self._repeated_us.get(camera_id, 0) < _REPEAT_US:
            return
        told = await self._doors.index.told(camera_id)
        last_us = max(
            (t.event.at_us for t in told if isinstance(t.event, FootageExpired)), default=seen.now_us
        )
        if seen.now_us - last_us >= _REPEAT_US:
            await self._expiry.repeat(camera_id, seen.now_us, build=seen.build)
            last_us = seen.now_us
        self._repeated_us[camera_id] = last_us


def _known_days(seen: _Seen, camera_id: str) -> int | None:
    """None also while a later revision cannot be read: it may have asked for more."""
    record = seen.records.get(camera_id)
    return None if record is None or not is_known(record) else record.retention_days
