"""Retention by each camera's `retention_days` and by the budget, for this replica's cameras."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from districam_common.contract import names
from districam_common.contract.events import Camera, FootageExpired
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.errors import Rejected, Retriable
from districam_common.index.revisions import is_newest_readable
from districam_common.ledger.causes import FOREVER
from districam_common.ledger.intervals import Interval
from districam_common.runtime.cooperative import yield_periodically
from districam_common.s3.hold_store import HoldStore
from districam_indexer import metrics
from districam_indexer.budget import StorageBudget
from districam_indexer.consumer import Consumer
from districam_indexer.core.retention import age_limit_us, trusted_now_us
from districam_indexer.dependencies import Dependencies
from districam_indexer.expiry import Expirer, ExpiryRequest, ExpiryResult
from districam_indexer.index_store.index_writer import IndexChanged
from districam_indexer.index_store.usage import UsageCounter
from districam_indexer.rate_limiter import RateLimiter

log = structlog.get_logger()

_REPUBLISH_INTERVAL_US = DAY_US
"""Interval between publications of the expired intervals, so that they outlive the topic's retention."""
_LOCKED_RETRY_INTERVAL_US = HOUR_US
"""Delay before a deletion that the store refused is tried again."""
_RECOUNT_INTERVAL_US = 600_000_000
"""Interval between recounts while indexers of an earlier version, which do not count, are running too."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Inputs of a round, read once."""

    build: str
    now_us: int
    cameras: Mapping[str, Camera]
    held: Mapping[str, list[Interval]]


class Retention:
    """The loop that expires footage."""

    def __init__(self, deps: Dependencies, consumer: Consumer, usage: UsageCounter) -> None:
        self._deps = deps
        self._consumer = consumer
        self._usage = usage
        self._store = HoldStore(deps.bucket)
        self._rate_limiter = RateLimiter(deps.runtime, deps.settings.indexer.retention_deletes_s)
        self._expiry = Expirer(deps, self._store, self._rate_limiter)
        max_bytes = deps.settings.storage.max_bytes
        self._lock_us = deps.settings.recorder.lock_us if deps.settings.s3.object_lock else 0
        self._budget = None if max_bytes is None else StorageBudget(usage, max_bytes, self._lock_us)
        self._counted_us: int | None = None
        self._done: dict[str, tuple[object, int]] = {}
        self._republished_us: dict[str, int] = {}

    async def run(self) -> None:
        """Runs rounds until the service stops. An error ends the round: incomplete inputs delete nothing."""
        while not self._deps.runtime.stopping.is_set():
            try:
                with metrics.measure_round("retention"):
                    await self._run_round()
            except (Retriable, IndexChanged) as error:
                log.warning("retention round postponed", why=str(error))
            except Rejected as error:
                log.error("retention is blocked", why=str(error))
            await self._deps.runtime.wait_stopping(self._deps.settings.indexer.retention_s)

    async def _run_round(self) -> None:
        snapshot = await self._read_snapshot()
        if snapshot is None:
            return
        edges = await self._budget_edges(snapshot)
        async for camera_id in yield_periodically(sorted(await self._owned_cameras())):
            if self._deps.runtime.stopping.is_set():
                return
            try:
                await self._apply_to_camera(camera_id, snapshot, edges.get(camera_id, 0))
            except Rejected as error:
                log.error("retention of a camera is blocked", camera_id=camera_id, why=str(error))

    async def _read_snapshot(self) -> _Snapshot | None:
        """None if the index is not ready, no watermark is known, or a hold of an unknown camera is unreadable."""
        index = self._deps.index
        meta = await index.meta()
        if meta is None or not meta.is_ready or not self._consumer.segment_partitions:
            return None
        now_us = trusted_now_us(self._deps.runtime.clock.now_us(), (await index.watermarks_us()).values())
        if not now_us:
            return None
        holds = await self._store.list_active()
        if unknown_holds := [hold.id for hold in holds.of_unknown_camera]:
            why = "a hold is unreadable and may be any camera's: nothing is deleted until it is repaired or released"
            log.error("retention is blocked", why=why, hold_ids=unknown_holds[:5])
            return None
        return _Snapshot(meta.build, now_us, await index.cameras(), holds.intervals_by_camera())

    async def _owned_cameras(self) -> set[str]:
        count = await self._deps.publisher.partitions(names.SEGMENTS)
        owned = self._consumer.segment_partitions
        known = await self._deps.index.camera_ids()
        return {camera_id for camera_id in known if names.partition_of(camera_id, count) in owned}

    async def _budget_edges(self, snapshot: _Snapshot) -> Mapping[str, int]:
        """Camera → deletion edge of the budget; empty without a budget or while bytes are not counted."""
        if self._budget is None or not await self._ensure_counted(snapshot.build):
            return {}
        days = {camera_id: record.retention_days for camera_id, record in snapshot.cameras.items()}
        return await self._budget.compute_edges(days, snapshot.held, snapshot.now_us)

    async def _ensure_counted(self, build: str) -> bool:
        """Recounts the hours if due; returns whether there are counts. Low ones will do: they delete less."""
        count_state, now_us = await self._usage.count_state(build), self._deps.runtime.clock.monotonic_us()
        is_due = self._counted_us is None or now_us - self._counted_us >= _RECOUNT_INTERVAL_US
        if count_state == "missing" or (count_state == "incomplete" and is_due):
            self._counted_us = now_us
            await self._usage.recount(build)
            count_state = await self._usage.count_state(build)
        return count_state != "missing"

    async def _apply_to_camera(self, camera_id: str, snapshot: _Snapshot, budget_edge_us: int) -> None:
        by_age_us = age_limit_us(_known_retention_days(snapshot, camera_id), snapshot.now_us, self._lock_us)
        edge_us = max(by_age_us, budget_edge_us)
        goal = (snapshot.build, edge_us, snapshot.held.get(camera_id))
        if edge_us and self._is_due(camera_id, goal):
            reason = "older than retention_days" if edge_us == by_age_us else "over the budget storage.max_bytes"
            indexed = sorted(await self._usage.bytes_by_hour(camera_id))
            request = ExpiryRequest(camera_id, edge_us, reason, indexed, snapshot.now_us)
            result = await self._expiry.run(request, build=snapshot.build)
            self._record_result(camera_id, goal, result)
            if result.deleted or result.evicted:
                log.info(
                    "footage expired", camera_id=camera_id, before=names.format_rfc3339(edge_us), reason=reason,
                    deleted=result.deleted, evicted=result.evicted,
                )  # fmt: skip
        await self._republish(camera_id, snapshot)

    def _is_due(self, camera_id: str, goal: object) -> bool:
        """Whether the goal is new, or its retry (after the store refused deletions) is due."""
        done, retry_us = self._done.get(camera_id, (None, FOREVER))
        return done != goal or self._deps.runtime.clock.monotonic_us() >= retry_us

    def _record_result(self, camera_id: str, goal: object, result: ExpiryResult) -> None:
        """Marks the goal as done; schedules a retry if the store kept something."""
        is_complete = not result.locked_keys and not result.locked_hours
        retry_us = FOREVER if is_complete else self._deps.runtime.clock.monotonic_us() + _LOCKED_RETRY_INTERVAL_US
        self._done[camera_id] = (goal, retry_us)
        if result.locked_hours:
            first = names.format_rfc3339(result.locked_hours[0])
            log.warning(
                "expired footage is still locked in the store",
                camera_id=camera_id,
                hours=len(result.locked_hours),
                first=first,
            )
        if result.locked_keys:
            log.error("the store refuses to delete expired footage", camera_id=camera_id, keys=result.locked_keys[:5])

    async def _republish(self, camera_id: str, snapshot: _Snapshot) -> None:
        if snapshot.now_us - self._republished_us.get(camera_id, 0) < _REPUBLISH_INTERVAL_US:
            return
        events = await self._deps.index.events(camera_id)
        last_us = max((t.event.at_us for t in events if isinstance(t.event, FootageExpired)), default=snapshot.now_us)
        if snapshot.now_us - last_us >= _REPUBLISH_INTERVAL_US:
            await self._expiry.republish(camera_id, snapshot.now_us, build=snapshot.build)
            last_us = snapshot.now_us
        self._republished_us[camera_id] = last_us


def _known_retention_days(snapshot: _Snapshot, camera_id: str) -> int | None:
    """The camera's `retention_days`; None if unknown or if a later revision, which may keep more, is unreadable."""
    camera = snapshot.cameras.get(camera_id)
    return None if camera is None or not is_newest_readable(camera) else camera.retention_days
