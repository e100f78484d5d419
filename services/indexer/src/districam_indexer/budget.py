"""The budget `storage.max_bytes`: computes up to where each camera's footage must be deleted to fit it."""

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from districam_common.contract.names import DAY_US
from districam_common.ledger.intervals import Interval
from districam_indexer import metrics
from districam_indexer.core.retention import BudgetPlan, CameraAge, StoredHours, plan_budget
from districam_indexer.index_store.usage import UsageCounter

log = structlog.get_logger()

_REFRESH_INTERVAL_US = DAY_US
"""How long a camera's oldest hour is remembered: older footage may arrive from a log with a long lag."""


class StorageBudget:
    """The budget of all cameras; every replica computes the same plan."""

    def __init__(self, usage: UsageCounter, max_bytes: int, lock_us: int = 0) -> None:
        self._usage = usage
        self._max_bytes, self._lock_us = max_bytes, lock_us
        self._oldest_hours: dict[str, tuple[list[Interval], int, int]] = {}
        self._is_over_budget = False

    async def compute_edges(
        self, days: Mapping[str, int | None], held: Mapping[str, list[Interval]], now_us: int
    ) -> Mapping[str, int]:
        """Camera → deletion edge (µs). `days`: `retention_days` of cameras with a record. Sets the gauges."""
        used_bytes = await self._usage.bytes_by_camera()
        cameras = {
            one: CameraAge(days.get(one), self._known_oldest_hour_us(one, held.get(one, []), now_us))
            for one in used_bytes
        }
        plan = await self._compute_plan(sum(used_bytes.values()) - self._max_bytes, cameras, held, now_us)
        for camera_id, oldest_us in plan.oldest_hours.items():
            self._oldest_hours[camera_id] = (held.get(camera_id, []), oldest_us, now_us)
        self._discard_absent(used_bytes)
        metrics.STORED_BYTES.set(sum(used_bytes.values()))
        metrics.OVER_BUDGET_BYTES.set(plan.over_bytes)
        metrics.BUDGET_BYTES.set(self._max_bytes)
        self._log_change(plan.over_bytes)
        return plan.edges

    async def _compute_plan(
        self, excess_bytes: int, cameras: Mapping[str, CameraAge], held: Mapping[str, list[Interval]], now_us: int
    ) -> BudgetPlan:
        planner = plan_budget(excess_bytes, cameras, now_us, self._lock_us)
        try:
            camera_id = next(planner)
            while True:
                if camera_id is None:
                    await asyncio.sleep(0)
                    camera_id = planner.send(None)
                else:
                    stored = StoredHours(await self._usage.bytes_by_hour(camera_id), held.get(camera_id, []))
                    camera_id = planner.send(stored)
        except StopIteration as end:
            return end.value

    def _known_oldest_hour_us(self, camera_id: str, held: list[Interval], now_us: int) -> int:
        """The camera's oldest unheld hour when last read, a lower bound for now; 0 if unknown or stale."""
        held_before, oldest_us, read_us = self._oldest_hours.get(camera_id, ([], 0, 0))
        return oldest_us if held_before == held and now_us - read_us < _REFRESH_INTERVAL_US else 0

    def _discard_absent(self, cameras: Iterable[str]) -> None:
        for camera_id in self._oldest_hours.keys() - set(cameras):
            del self._oldest_hours[camera_id]

    def _log_change(self, over_bytes: int) -> None:
        if self._is_over_budget == bool(over_bytes):
            return
        self._is_over_budget = bool(over_bytes)
        if self._is_over_budget:
            why = "the remaining footage is held, locked, or younger than a day; recording continues"
            log.error("storage budget exceeded", over_bytes=over_bytes, why=why)
        else:
            log.info("storage within budget again")
