"""A hold's turn: some steps of its window, each a listing and what follows from it, until its requests are used up."""

import asyncio
from dataclasses import dataclass

import structlog

from districam_common.contract import names
from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.ledger.holds import Hold
from districam_common.s3.vault import Vault, Version
from districam_indexer.core.holding import Work, work_of
from districam_indexer.core.looking import Looking, Step, mark

log = structlog.get_logger()

_AT_ONCE = 64


@dataclass(slots=True)
class Taken:
    """What a turn came to. `is_refused`: the store would not let us put a legal hold on something."""

    requests: int = 0
    is_refused: bool = False


class Turn:
    """Everything may raise `Retriable`: what was done stays, the step that failed is tried again."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def take(
        self, hold: Hold, looking: Looking, most: int, *, again: bool, is_protected: bool
    ) -> Taken:
        """At least one step if there is one, and none once `most` requests are used; a step is an hour at most."""
        taken = Taken()
        while taken.requests < most and (step := looking.next(again=again)) is not None:
            try:
                await self._step(hold, looking, step, taken, again=again, is_protected=is_protected)
            except DistricamError:
                looking.put_back(step, again=again)
                raise
        return taken

    async def _step(
        self, hold: Hold, looking: Looking, step: Step, taken: Taken, *, again: bool, is_protected: bool
    ) -> None:
        kind, start_us = step
        if kind == "day":
            await self._day(hold, looking, start_us, taken, again=again)
        else:
            await self._hour(hold, looking, start_us, taken, is_protected=is_protected)

    async def _day(self, hold: Hold, looking: Looking, day_us: int, taken: Taken, *, again: bool) -> None:
        taken.requests += 1
        hours: list[int] = []
        for folder in await self._vault.folders(names.day_prefix(hold.camera_id, day_us)):
            try:
                hours.append(names.parse_hour_prefix(folder))
            except ValueError:
                log.warning("not a folder of ours, left alone", folder=folder[:300])
        looking.found(day_us, hours, again=again)

    async def _hour(
        self, hold: Hold, looking: Looking, hour_us: int, taken: Taken, *, is_protected: bool
    ) -> None:
        found: list[Version] = []
        async for page in self._vault.version_pages(names.hour_prefix(hold.camera_id, hour_us)):
            taken.requests += 1
            found += page
        work = work_of(hold, found)
        if work.markers:
            taken.requests += 1
            await self._undelete(hold, work)
        missing = [work.versions[place] for place in looking.missing(hour_us, work)]
        for n in range(0, len(missing) if is_protected else 0, _AT_ONCE):
            some = missing[n : n + _AT_ONCE]
            taken.requests += len(some)
            async with asyncio.TaskGroup() as tasks:
                attempts = [tasks.create_task(self._put_on_hold(one)) for one in some]
            outcomes = [attempt.result() for attempt in attempts]
            done = [one for one, outcome in zip(some, outcomes, strict=True) if outcome is None]
            looking.put_on_hold(hour_us, [mark(one) for one in done])
            if away := next((one for one in outcomes if isinstance(one, Retriable)), None):
                raise away
            if len(done) < len(some):
                looking.failed(hour_us)
                taken.is_refused = True

    async def _undelete(self, hold: Hold, work: Work) -> None:
        """Somebody deleted held footage without naming a version: it is still there, and is to be found by its key again."""
        keys = sorted({one.key for one in work.markers})
        log.warning(
            "held footage was deleted, and is brought back", hold=hold.id, objects=len(keys), first=keys[0]
        )
        await self._vault.delete_versions(work.markers)

    async def _put_on_hold(self, found: Version) -> DistricamError | None:
        """None once it is under legal hold; else why not. An error of one must not hide what became of the others."""
        try:
            await self._vault.hold(found.key, found.version or "")
        except Retriable as error:
            return error
        except (Rejected, Fatal) as error:  # deleted meanwhile, or not ours to hold
            log.warning("not held", key=found.key, why=str(error))
            return error
        return None
