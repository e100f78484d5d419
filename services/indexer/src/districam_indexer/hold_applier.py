"""Applies holds: sets a legal hold on each object version in a held window, also later ones; reports the state.

A round uses a bounded number of requests, regardless of the number and length of holds. Holds take turns; the
next round continues after the last one served.
"""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from districam_common.contract import names
from districam_common.errors import Rejected, Retriable
from districam_common.index.hold_cache import HoldCache
from districam_common.ledger.holds import Hold, Holds, HoldState, encode_cached_hold
from districam_common.ledger.intervals import intersects, merge
from districam_common.s3.hold_store import HoldStore
from districam_indexer import metrics
from districam_indexer.consumer import Consumer
from districam_indexer.core.hold_rules import hold_state, round_robin, stale_cache_ids
from districam_indexer.core.hold_scan import HoldScan
from districam_indexer.dependencies import Dependencies
from districam_indexer.hold_event_archiver import HoldEventArchiver
from districam_indexer.hold_step_runner import HoldStepRunner
from districam_indexer.legal_hold_probe import LegalHoldProbe

log = structlog.get_logger()

REQUESTS_PER_ROUND = 2000
"""Requests for new footage and windows not scanned yet; takes some seconds."""
RESCAN_REQUESTS_PER_ROUND = 100
"""Requests for repeated scans: 20 a second at the default `holds_s`."""
REQUESTS_PER_HOLD = 200
_RESCAN_INTERVAL_US = 600_000_000
"""Interval between repeated scans of a window: objects in it may have been deleted."""


@dataclass(slots=True)
class _HoldProgress:
    """What this process has done for a hold. Not persisted: a new process repeats it, which is idempotent."""

    scan: HoldScan
    state: HoldState | None = None
    scanned_us: int = 0


class HoldApplier:
    """The loop that applies the holds of this replica's cameras."""

    def __init__(self, deps: Dependencies, consumer: Consumer, cache: HoldCache) -> None:
        self._deps = deps
        self._consumer = consumer
        self._cache = cache
        self._store = HoldStore(deps.bucket)
        self._step_runner = HoldStepRunner(deps.bucket)
        self._event_archiver = HoldEventArchiver(deps, self._store)
        self._legal_hold_probe = LegalHoldProbe(deps)
        self._progress: dict[str, _HoldProgress] = {}
        self._last_served = {False: "", True: ""}

    async def run(self) -> None:
        """Runs rounds until the service stops."""
        while not self._deps.runtime.stopping.is_set():
            has_more = False
            try:
                with metrics.measure_round("holds"):
                    has_more = await self.run_round()
            except Retriable as error:
                log.warning("holds not applied", why=str(error))
            except Rejected as error:
                log.error("a hold cannot be read", why=str(error))
            await self._deps.runtime.wait_stopping(0 if has_more else self._deps.settings.indexer.holds_s)

    async def run_round(self) -> bool:
        """One round for the holds of this replica's cameras; returns whether urgent work is left."""
        if await self._legal_hold_probe.refresh():
            self._progress.clear()  # the states were computed for the old kind of protection
        cached, states = await self._deps.index.holds(), await self._deps.index.hold_states()
        holds = await self._store.list_active()
        metrics.HOLDS.labels("unread").set(len(holds.unreadable))
        await self._update_cache(cached, states, holds)
        owned = await self._owned_holds(holds.readable)
        # Also those whose camera moved to another replica: its announcements are no longer seen here.
        for hold_id in self._progress.keys() - {hold.id for hold in owned}:
            del self._progress[hold_id]
        self._report_announced(owned)
        await self._archive_events(owned)
        for hold in owned:
            progress = self._progress.setdefault(hold.id, _HoldProgress(HoldScan(hold)))
            progress.scan.begin_round()
            if progress.state is not None and hold.id not in states:  # Redis has been emptied
                await self._write_state(hold, progress)
        try:
            await self._serve_holds(owned, REQUESTS_PER_ROUND, is_rescan=False)
            await self._serve_holds(owned, RESCAN_REQUESTS_PER_ROUND, is_rescan=True)
        finally:
            self._export_states(owned)
        return any(applied.scan.has_urgent_steps for applied in self._progress.values())

    async def _owned_holds(self, holds: Sequence[Hold]) -> list[Hold]:
        if not holds:
            return []
        count = await self._deps.publisher.partitions(names.SEGMENTS)
        owned_partitions = self._consumer.segment_partitions
        return [hold for hold in holds if names.partition_of(hold.camera_id, count) in owned_partitions]

    async def _archive_events(self, owned: Sequence[Hold]) -> None:
        try:
            await self._event_archiver.archive(owned)
        except Retriable as error:  # not urgent (the topic keeps events for 35 days), and must not delay legal holds
            log.warning("events of holds not archived", why=str(error))

    def _report_announced(self, owned: Sequence[Hold]) -> None:
        """Queues the hours of newly announced footage, which is old if its recorder waited for the store."""
        announced = self._deps.announced_intervals.drain()
        for hold in owned:
            if (progress := self._progress.get(hold.id)) and hold.camera_id in announced:
                in_window = [
                    one for one in merge(announced[hold.camera_id]) if intersects([one], hold.from_us, hold.to_us)
                ]
                progress.scan.report_announced(in_window)

    async def _update_cache(self, cached: Mapping[str, bytes], states: Mapping[str, HoldState], holds: Holds) -> None:
        """Copies the holds to Redis, from where the api lists them. Unreadable ones stay listed."""
        fields = {hold.id: encode_cached_hold(hold) for hold in holds.readable}
        new = {one: body for one, body in fields.items() if cached.get(one) != body}
        stale = stale_cache_ids([*cached, *states], [*holds.readable, *holds.unreadable])
        await self._cache.put_encoded(new)
        await self._cache.delete(stale)

    async def _serve_holds(self, owned: Sequence[Hold], max_requests: int, *, is_rescan: bool) -> None:
        """Gives each hold with queued steps a turn until `max_requests` are used."""
        requests_left = max_requests
        for hold in round_robin(owned, self._last_served[is_rescan]):
            progress = self._progress[hold.id]
            if is_rescan and self._is_rescan_due(progress):
                progress.scan.begin_rescan()
            has_steps = progress.scan.has_rescan_steps if is_rescan else progress.scan.has_urgent_steps
            if not has_steps:
                continue
            if requests_left <= 0:
                return
            self._last_served[is_rescan] = hold.id  # before it runs: if it fails, the next round begins after it
            requests_left -= await self._serve_hold(
                hold, progress, min(requests_left, REQUESTS_PER_HOLD), is_rescan=is_rescan
            )

    async def _serve_hold(self, hold: Hold, progress: _HoldProgress, max_requests: int, *, is_rescan: bool) -> int:
        is_protected = self._legal_hold_probe.is_enforced
        result = await self._step_runner.run_steps(
            hold, progress.scan, max_requests, is_rescan=is_rescan, is_protected=is_protected
        )
        if result.is_refused:
            self._legal_hold_probe.report_refused()
        is_done = not (progress.scan.has_rescan_steps if is_rescan else progress.scan.has_urgent_steps)
        if is_done and (is_rescan or not progress.scanned_us):  # new footage must not postpone the rescan
            progress.scanned_us = self._deps.runtime.clock.monotonic_us()
        await self._write_state(hold, progress)
        return result.requests

    def _is_rescan_due(self, progress: _HoldProgress) -> bool:
        if progress.scan.has_urgent_steps or progress.scan.has_rescan_steps or not progress.scanned_us:
            return False
        return self._deps.runtime.clock.monotonic_us() - progress.scanned_us >= _RESCAN_INTERVAL_US

    async def _write_state(self, hold: Hold, progress: _HoldProgress) -> None:
        now_us = self._deps.runtime.clock.now_us()
        scan, before = progress.scan, progress.state
        state = hold_state(
            scan.versions,
            scan.held,
            is_complete=scan.is_complete,
            is_protected=self._legal_hold_probe.is_enforced,
            now_us=now_us,
        )
        if before is None or before.state != state.state:
            log.info("state of a hold", hold_id=hold.id, state=state.state, versions=state.versions, held=state.held)
        progress.state = state
        await self._cache.put_state(hold.id, state)

    def _export_states(self, owned: Sequence[Hold]) -> None:
        states = Counter(state.state for hold in owned if (state := self._progress[hold.id].state))
        for name in ("enforced", "advisory", "partial"):
            metrics.HOLDS.labels(name).set(states[name])
