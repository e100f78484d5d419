"""One camera's footage up to an edge: said to be expired, deleted, dropped from the index. Each step may be repeated.

Said before it is deleted, so that a hold that comes too late is refused; the holds are read again in between, so that one
that came in time is kept. Whoever dies between two steps has broken nothing: the next round finds what is left.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from districam_common.contract import names, wire
from districam_common.contract.events import FootageExpired
from districam_common.contract.index import IndexEntry
from districam_common.contract.names import DAY_US, HOUR_US, SegmentName
from districam_common.errors import Retriable
from districam_common.ledger.causes import FOREVER
from districam_common.ledger.intervals import Interval, merge, touches
from districam_common.s3.hold_store import HoldStore
from districam_common.s3.vault import Version
from districam_indexer import metrics
from districam_indexer.core.belief import YOUNGEST_US, objection
from districam_indexer.core.operations import gathered
from districam_indexer.core.plan import is_inside, plan_event
from districam_indexer.core.retention import (
    is_deletable,
    is_due,
    let_go,
    may_be_locked,
    superfluous,
    untold,
)
from districam_indexer.doors import Doors
from districam_indexer.pacing import Pace

log = structlog.get_logger()

_AT_ONCE = 100
"""Versions deleted in one request: a long one would keep the store from recording."""
_LOOK_AGAIN_US = DAY_US
"""At a day in which nothing was stored."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be let go of: all before `edge_us`, for that reason. `now_us`: the time that retention goes by."""

    camera_id: str
    edge_us: int
    reason: str
    indexed: Sequence[int]
    now_us: int


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        locked: versions that the store keeps although they were said to be expired: under a lock that nobody foresaw, or a
            legal hold that is none of ours.
        waits: hours of which nothing was said, for the store still keeps what is in them.
    """

    deleted: int = 0
    dropped: int = 0
    locked: list[str] = field(default_factory=list[str])
    waits: list[int] = field(default_factory=list[int])


class Expiry:
    """For one loop. Everything may raise `Retriable` and `IndexChanged`: the round is begun anew, later."""

    def __init__(self, doors: Doors, store: HoldStore, pace: Pace) -> None:
        self._doors = doors
        self._store = store
        self._pace = pace
        self._told = 0
        self._bare_us: dict[str, int] = {}

    async def run(self, wanted: Wanted, *, build: str) -> Outcome:
        """A round of one camera."""
        hours = await self._hours(wanted)
        held = await self._held(wanted.camera_id)
        due = [hour_us for hour_us in hours if is_due(hour_us, wanted.edge_us, held)]
        outcome = Outcome(waits=await self._locked(wanted, due))
        stays = merge([*held, *((hour_us, hour_us + HOUR_US) for hour_us in outcome.waits)])
        since_us = await self._since(wanted.camera_id, hours)
        await self._tell(wanted, let_go(since_us, wanted.edge_us, stays), build=build)
        for hour_us in due:
            if hour_us not in outcome.waits:
                await self._empty(wanted.camera_id, hour_us, outcome, build=build)
        await self._trim(wanted.camera_id, wanted.edge_us)
        return outcome

    async def repeat(self, camera_id: str, now_us: int, *, build: str) -> None:
        """Says again all that has expired, so that the topic does not forget it. `now_us`: the time that retention goes by.

        What is too young for that stands in an index that an earlier version has written, which believed anybody.
        """
        expired = (await self._doors.index.expired([camera_id]))[camera_id]
        old = [one for one in expired if one[1] <= now_us - YOUNGEST_US]
        if len(old) < len(expired):
            why = "it is younger than a day: not retention has said that. districam-indexer rebuild finds the footage again"
            log.error("what is said to have expired is not said again", camera_id=camera_id, why=why)
        await self._publish(camera_id, old, "repeated", build=build)
        await self._trim(camera_id, 0)

    async def _hours(self, wanted: Wanted) -> list[int]:
        """Starts of the hours before the edge of which anything is stored or indexed; the bucket's may be unindexed."""
        found = {hour_us for hour_us in wanted.indexed if hour_us < wanted.edge_us}
        for day in await self._doors.vault.folders(f"{wanted.camera_id}/"):
            if _start_of(day, wanted.edge_us) < wanted.edge_us and not await self._is_bare(day):
                hours = [_start_of(hour, wanted.edge_us) for hour in await self._doors.vault.folders(day)]
                found |= {hour_us for hour_us in hours if hour_us < wanted.edge_us}
        return sorted(found)

    async def _is_bare(self, day: str) -> bool:
        """Whether nothing is stored in that folder: SeaweedFS shows folders long after their objects are gone."""
        now_us = self._doors.runtime.clock.monotonic_us()
        if now_us - self._bare_us.get(day, -_LOOK_AGAIN_US) < _LOOK_AGAIN_US:
            return True
        async with aclosing(self._doors.vault.every_version(day)) as versions:
            async for _ in versions:
                return False
        self._bare_us[day] = now_us
        return True

    async def _held(self, camera_id: str) -> list[Interval]:
        return (await self._store.all()).of(camera_id)

    async def _locked(self, wanted: Wanted, due: Sequence[int]) -> list[int]:
        """Of these hours, and of what is not said to be expired yet, those whose last segment the store keeps from us.

        Nothing may be said to be gone that cannot go. Locks end in the order of recording, so the last one tells.
        """
        expired = (await self._doors.index.expired([wanted.camera_id]))[wanted.camera_id]
        out: list[int] = []
        for hour_us in due:
            is_told = is_inside((hour_us, min(hour_us + HOUR_US, wanted.edge_us)), expired)
            if is_told or not may_be_locked(hour_us, wanted.now_us):
                continue
            versions = [
                one async for one, _ in self._versions(wanted.camera_id, hour_us) if not one.is_marker
            ]
            until_us = (
                await self._doors.vault.locked_until(versions[-1].key, versions[-1].version)
                if versions
                else 0
            )
            if until_us > wanted.now_us:
                out.append(hour_us)
        return out

    async def _since(self, camera_id: str, hours: Sequence[int]) -> int:
        """Where the first is that anybody knows of the camera."""
        index = self._doors.index
        revisions = [one.updated_us for one in await index.revisions(camera_id)]
        told = [one.event.at_us for one in await index.told(camera_id)]
        expired = [from_us for from_us, _ in (await index.expired([camera_id]))[camera_id]]
        return min([*revisions, *told, *expired, *hours, FOREVER])

    async def _tell(self, wanted: Wanted, ranges: Sequence[Interval], *, build: str) -> None:
        expired = (await self._doors.index.expired([wanted.camera_id]))[wanted.camera_id]
        if untold(ranges, expired):
            await self._publish(wanted.camera_id, ranges, wanted.reason, build=build)

    async def _publish(self, camera_id: str, ranges: Iterable[Interval], reason: str, *, build: str) -> None:
        """To the topic, which outlives the index; then to the index, which the api asks."""
        for from_us, to_us in ranges:
            self._told += 1
            event = FootageExpired(
                camera_id=camera_id,
                at_us=self._doors.runtime.clock.now_us(),
                instance=self._doors.runtime.instance,
                from_us=from_us,
                to_us=to_us,
                reason=reason,
            )
            site = self._doors.settings.site
            message = wire.event_message(event, self._told, site=site, service="indexer")
            ack = await self._doors.publisher.publish(names.RETENTION, message)
            if why := objection(event, names.RETENTION, ack.append_us, self._doors.streams_until_us):
                raise Retriable(f"by the broker's clock this is too young to go: {why}")
            await self._doors.writer.apply_though_full(
                gathered(plan_event(event, ack.append_us)), build=build
            )

    async def _empty(self, camera_id: str, hour_us: int, outcome: Outcome, *, build: str) -> None:
        """Deletes of that hour what is told and not held, by the holds of now; then drops it from the index."""
        expired = (await self._doors.index.expired([camera_id]))[camera_id]
        held = await self._held(camera_id)
        kept: set[str] = set()
        doomed: list[Version] = []
        async for version, name in self._versions(camera_id, hour_us):
            if is_deletable((name.entry.start_us, name.entry.end_us), expired, held):
                doomed.append(version)
            else:
                kept.add(version.key)
        for n in range(0, len(doomed), _AT_ONCE):
            kept |= await self._delete(doomed[n : n + _AT_ONCE], outcome)

        def is_over(entry: IndexEntry) -> bool:
            is_ours = is_deletable((entry.start_us, entry.end_us), expired, held)
            return is_ours and names.segment_key(camera_id, entry) not in kept

        outcome.dropped += await self._doors.dropper.drop(camera_id, hour_us, is_over, build=build)

    async def _versions(self, camera_id: str, hour_us: int) -> AsyncIterator[tuple[Version, SegmentName]]:
        async for version in self._doors.vault.every_version(names.hour_prefix(camera_id, hour_us)):
            try:
                yield version, names.parse_segment_key(version.key, version.size)
            except ValueError:
                log.warning("not a segment of ours, left alone", key=version.key[:300])

    async def _delete(self, versions: Sequence[Version], outcome: Outcome) -> set[str]:
        """Gives the keys that stay, because the store keeps them: locked, or under somebody else's legal hold."""
        await self._pace.wait(len(versions))
        vault = self._doors.vault
        refused = await vault.delete_versions(versions)
        ours = await self._formerly_held(refused)
        for version in ours:
            await vault.release(version.key, version.version or "")
        again = set(await vault.delete_versions(ours)) if ours else set[Version]()
        stays = {one.key for one in refused if one not in ours or one in again}
        outcome.deleted += len(versions) - len(stays)
        metrics.DELETED.inc(len(versions) - len(stays))
        metrics.LOCKED.inc(len(stays))
        outcome.locked += sorted(stays)
        return stays

    async def _formerly_held(self, refused: Sequence[Version]) -> list[Version]:
        """Those whose legal hold a released hold of ours has left behind: nobody else's is touched."""
        if not refused:
            return []
        released = await self._store.all_released()
        out: list[Version] = []
        for one in refused:
            name = names.parse_segment_key(one.key, one.size)
            windows = merge((r.from_us, r.to_us) for r in released if r.camera_id == name.camera_id)
            if touches(windows, name.entry.start_us, name.entry.end_us):
                out.append(one)
        return out

    async def _trim(self, camera_id: str, edge_us: int) -> None:
        """Forgets events that explain nothing any more, neither of what is kept nor of what is held."""
        held = await self._held(camera_id)
        before_us = min([edge_us, *(from_us for from_us, _ in held)])
        told = await self._doors.index.told_members(camera_id)
        await self._doors.dropper.forget_events(camera_id, superfluous(told, before_us))


def _start_of(folder: str, otherwise_us: int) -> int:
    """Of a day's or an hour's folder; `otherwise_us` for one that is neither."""
    try:
        return names.parse_hour_prefix(folder)
    except ValueError:
        log.warning("not a folder of ours, left alone", folder=folder[:300])
        return otherwise_us
