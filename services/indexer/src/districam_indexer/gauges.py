"""Exports coverage gauges, computed from the ledger: correct right after a start, and gaps may shrink."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import structlog
from prometheus_client import Gauge

from districam_common.contract import names
from districam_common.errors import Rejected, Retriable
from districam_common.ledger.ledger import LedgerInputs, gap_us_by_cause, ledger, summary
from districam_common.runtime.cooperative import run_in_thread_if_long, yield_periodically
from districam_common.runtime.unreadable import record_unreadable
from districam_indexer import metrics
from districam_indexer.consumer import Consumer
from districam_indexer.dependencies import Dependencies

log = structlog.get_logger()

WINDOWS_S = {"1h": 3_600, "1d": 86_400}
_REFRESHES_PER_WINDOW = 240
"""A window is recomputed after this fraction of its length: an hour every 15 s, a day every 6 min."""

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Coverage of a camera in a window. The ratio is None if nothing was expected or is settled yet."""

    recorded_ratio: float | None
    gap_s: dict[str, float]


class ReplaceableGauge:
    """A gauge whose label sets are replaced a window at a time, so that obsolete ones disappear."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._label_sets: dict[str, set[Labels]] = {}

    async def replace(self, window: str, values: dict[Labels, float]) -> None:
        """Sets the label sets of `window` to those of `values`; removes the others."""
        old_label_sets, self._label_sets[window] = self._label_sets.get(window, set()), set(values)
        async for labels in yield_periodically(old_label_sets - values.keys()):
            self._gauge.remove(*labels)
        async for labels, value in yield_periodically(values.items()):
            self._gauge.labels(*labels).set(value)


class CoverageGauges:
    """Exports the cameras whose `segments` partitions are this replica's, so that one replica exports each."""

    def __init__(self, deps: Dependencies, consumer: Consumer) -> None:
        self._deps = deps
        self._consumer = consumer
        self._recorded_ratio = ReplaceableGauge(metrics.RECORDED_RATIO)
        self._gap_seconds = ReplaceableGauge(metrics.GAP_SECONDS)
        self._last_segment_end = ReplaceableGauge(metrics.LAST_SEGMENT_END)
        self._computed_us: dict[str, int] = {}
        self._exported_partitions: frozenset[int] = frozenset()

    async def run(self) -> None:
        """Refreshes the gauges until the service stops. On errors of the index they keep their values."""
        while not self._deps.runtime.stopping.is_set():
            try:
                with metrics.measure_round("gauges"):
                    await self._refresh()
            except (Retriable, Rejected) as error:
                log.warning("gauges not refreshed", why=str(error))
            await self._deps.runtime.wait_stopping(self._deps.settings.indexer.gauges_s)

    async def _refresh(self) -> None:
        meta = await self._deps.index.meta()
        if meta is None or not meta.is_ready:
            return
        cameras = await self._cameras()
        newest = await self._latest_ends_us(cameras)
        await self._last_segment_end.replace("", {(c,): at_us / 1e6 for c, at_us in newest.items()})
        for window, length_s in WINDOWS_S.items():
            if self._is_due(window, length_s):
                await self._export(window, length_s, cameras, meta.partitions)

    async def _latest_ends_us(self, cameras: Iterable[str]) -> dict[str, int]:
        """Camera → end of its newest segment, at most now: a wrong clock must not make a dead camera look alive."""
        index, now_us = self._deps.index, await self._now_us()
        latest = await index.latest_ends_us()
        for camera_id in cameras:
            if latest.get(camera_id, 0) > now_us + names.MAX_CLOCK_AHEAD_US:
                latest[camera_id] = await index.newest_end_us(camera_id, now_us) or 0
        return {one: min(latest[one], now_us) for one in cameras if latest.get(one)}

    async def _now_us(self) -> int:
        """This host's clock, or the latest watermark if that is later (the host's clock is then behind)."""
        return max(self._deps.runtime.clock.now_us(), *(await self._deps.index.watermarks_us()).values(), 0)

    async def _cameras(self) -> list[str]:
        count = await self._deps.publisher.partitions(names.SEGMENTS)
        ours = self._consumer.segment_partitions
        if ours != self._exported_partitions:
            self._exported_partitions, self._computed_us = ours, {}
        return sorted(c for c in await self._deps.index.camera_ids() if names.partition_of(c, count) in ours)

    def _is_due(self, window: str, length_s: int) -> bool:
        now_us = self._deps.runtime.clock.monotonic_us()
        last_us = self._computed_us.get(window)
        if last_us is not None and now_us - last_us < length_s * 1_000_000 // _REFRESHES_PER_WINDOW:
            return False
        self._computed_us[window] = now_us
        return True

    async def _export(self, window: str, length_s: int, cameras: Iterable[str], partitions: int) -> None:
        now_us = await self._now_us()
        settle_us = round(self._deps.settings.indexer.settle_s * 1e6)
        ratios: dict[Labels, float] = {}
        gaps: dict[Labels, float] = {}
        for camera_id in cameras:
            from_us = now_us - length_s * 1_000_000
            try:
                inputs = await self._deps.index.ledger_inputs(
                    camera_id, partitions, from_us - names.HOUR_US, now_us + names.HOUR_US
                )
            except Rejected as error:
                record_unreadable("camera", camera_id, str(error))
                continue
            compute = partial(compute_coverage, inputs, from_us, now_us, settle_us=settle_us)
            coverage_now = await run_in_thread_if_long(compute, len(inputs.events))
            if coverage_now.recorded_ratio is not None:
                ratios[camera_id, window] = coverage_now.recorded_ratio
            gaps |= {(camera_id, cause, window): gap_s for cause, gap_s in coverage_now.gap_s.items()}
        await self._recorded_ratio.replace(window, ratios)
        await self._gap_seconds.replace(window, gaps)


def compute_coverage(inputs: LedgerInputs, from_us: int, now_us: int, *, settle_us: int) -> Coverage:
    """Coverage of a camera in [from_us, now_us)."""
    states = ledger((from_us, now_us), inputs, now_us=now_us, settle_us=settle_us)
    sums = summary(states)
    settled_us = sums.recorded_us + sums.gap_us
    ratio = sums.recorded_us / settled_us if settled_us else None
    return Coverage(ratio, {cause: us / 1e6 for cause, us in gap_us_by_cause(states).items()})
