"""Runs steps of a hold's scan (a listing and the requests that follow) until its request budget is used."""

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
    """Requests used by a turn. `is_refused`: the store refused a legal hold."""

    requests: int = 0
    is_refused: bool = False


class HoldStepRunner:
    """Applies holds. Methods may raise `Retriable`: completed steps stay, the failed one is queued again."""

    def __init__(self, bucket: VersionedBucket) -> None:
        self._bucket = bucket

    async def run_steps(
        self, hold: Hold, scan: HoldScan, max_requests: int, *, is_rescan: bool, is_protected: bool
    ) -> HoldStepsResult:
        """Runs steps until `max_requests` are used, but at least one. A step is at most an hour."""
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
                log.warning("unknown folder in the bucket ignored", folder=folder[:300])
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
        """Removes delete markers, which hide held objects that were deleted without a version id."""
        keys = sorted({one.key for one in targets.delete_markers})
        log.warning("delete markers of held footage removed", hold_id=hold.id, objects=len(keys), first=keys[0])
        await self._bucket.delete_versions(targets.delete_markers)

    async def _enable_legal_hold(self, version: ObjectVersion) -> DistricamError | None:
        """Puts a version under legal hold. Returns the error instead of raising it: the others continue."""
        try:
            await self._bucket.enable_legal_hold(version.key, version.version_id or "")
        except Retriable as error:
            return error
        except (Rejected, Fatal) as error:  # deleted since the listing, or our credentials do not allow it
            log.warning("legal hold refused by the store", key=version.key, why=str(error))
            return error
        return None
