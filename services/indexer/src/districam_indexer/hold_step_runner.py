"""A hold's turn: some steps of its window, each a listing and what follows from it, until its requests are used up."""

import asyncio
from dataclasses import dataclass

import structlog

from districam_common.contract import names
from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.ledger.holds import Hold
from districam_common.s3.versioned_bucket import ObjectVersion, VersionedBucket
from districam_indexer.core.hold_rules import HoldTargets, hold_targets
from districam_indexer.core.hold_scan import HoldScan, ScanStep, version_hash

log = structlog.get_logger()

_MAX_CONCURRENT_PUTS = 64


@dataclass(slots=True)
class HoldStepsResult:
    """What a turn came to. `is_refused`: the store would not let us put a legal hold on something."""

    requests: int = 0
    is_refused: bool = False


class HoldStepRunner:
    """Everything may raise `Retriable`: what was done stays, the step that failed is tried again."""

    def __init__(self, bucket: VersionedBucket) -> None:
        self._bucket = bucket

    async def run_steps(
        self, hold: Hold, scan: HoldScan, max_requests: int, *, is_rescan: bool, is_protected: bool
    ) -> HoldStepsResult:
        """At least one step if there is one, and none once `max_requests` requests are used; a step is an hour at most."""
        result = HoldStepsResult()
        while result.requests < max_requests and (step := scan.next_step(is_rescan=is_rescan)) is not None:
            try:
                await self._run_step(hold, scan, step, result, is_rescan=is_rescan, is_protected=is_protected)
            except DistricamError:
                scan.requeue(step, is_rescan=is_rescan)
                raise
        return result

    async def _run_step(
        self,
        hold: Hold,
        scan: HoldScan,
        step: ScanStep,
        result: HoldStepsResult,
        *,
        is_rescan: bool,
        is_protected: bool,
    ) -> None:
        kind, start_us = step
        if kind == "day":
            await self._scan_day(hold, scan, start_us, result, is_rescan=is_rescan)
        else:
            await self._scan_hour(hold, scan, start_us, result, is_protected=is_protected)

    async def _scan_day(
        self, hold: Hold, scan: HoldScan, day_us: int, result: HoldStepsResult, *, is_rescan: bool
    ) -> None:
        result.requests += 1
        hours: list[int] = []
        for folder in await self._bucket.common_prefixes(names.day_prefix(hold.camera_id, day_us)):
            try:
                hours.append(names.parse_hour_prefix(folder))
            except ValueError:
                log.warning("not a folder of ours, left alone", folder=folder[:300])
        scan.report_hours(day_us, hours, is_rescan=is_rescan)

    async def _scan_hour(
        self, hold: Hold, scan: HoldScan, hour_us: int, result: HoldStepsResult, *, is_protected: bool
    ) -> None:
        versions: list[ObjectVersion] = []
        async for page in self._bucket.version_pages(names.hour_prefix(hold.camera_id, hour_us)):
            result.requests += 1
            versions += page
        targets = hold_targets(hold, versions)
        if targets.delete_markers:
            result.requests += 1
            await self._undelete(hold, targets)
        unheld = [targets.versions[index] for index in scan.unheld_indexes(hour_us, targets)]
        for n in range(0, len(unheld) if is_protected else 0, _MAX_CONCURRENT_PUTS):
            batch = unheld[n : n + _MAX_CONCURRENT_PUTS]
            result.requests += len(batch)
            async with asyncio.TaskGroup() as tasks:
                attempts = [tasks.create_task(self._enable_legal_hold(one)) for one in batch]
            outcomes = [attempt.result() for attempt in attempts]
            held = [one for one, outcome in zip(batch, outcomes, strict=True) if outcome is None]
            scan.report_held(hour_us, [version_hash(one) for one in held])
            if unavailable := next((one for one in outcomes if isinstance(one, Retriable)), None):
                raise unavailable
            if len(held) < len(batch):
                scan.report_failed(hour_us)
                result.is_refused = True

    async def _undelete(self, hold: Hold, targets: HoldTargets) -> None:
        """Somebody deleted held footage without naming a version: it is still there, and is to be found by its key again."""
        keys = sorted({one.key for one in targets.delete_markers})
        log.warning("held footage was deleted, and is brought back", hold=hold.id, objects=len(keys), first=keys[0])
        await self._bucket.delete_versions(targets.delete_markers)

    async def _enable_legal_hold(self, version: ObjectVersion) -> DistricamError | None:
        """None once it is under legal hold; else why not. An error of one must not hide what became of the others."""
        try:
            await self._bucket.enable_legal_hold(version.key, version.version_id or "")
        except Retriable as error:
            return error
        except (Rejected, Fatal) as error:  # deleted meanwhile, or not ours to hold
            log.warning("not held", key=version.key, why=str(error))
            return error
        return None
