"""Expires one camera's footage up to an edge: announces it as expired, deletes it, evicts it from the index.

It is announced before deletion, so that a later hold is refused; holds are read again in between, so that an
earlier one is kept. Each step is idempotent: after a crash between two steps, the next round finishes them.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from districam_common.contract import names, wire
from districam_common.contract.events import FootageExpired
from districam_common.contract.names import DAY_US, HOUR_US, SegmentKeyFields
from districam_common.contract.segment_array import IndexEntry
from districam_common.errors import Retriable
from districam_common.ledger.causes import FOREVER
from districam_common.ledger.intervals import Interval, intersects, merge
from districam_common.s3.hold_store import HoldStore
from districam_common.s3.versioned_bucket import ObjectVersion
from districam_indexer import metrics
from districam_indexer.core.expired_validation import MIN_EXPIRED_AGE_US, rejection_reason
from districam_indexer.core.operations import to_batch
from districam_indexer.core.plan import is_covered, plan_event
from districam_indexer.core.retention import (
    has_unexpired,
    is_deletable,
    is_due,
    may_be_locked,
    obsolete_events,
    ranges_to_expire,
)
from districam_indexer.dependencies import Dependencies
from districam_indexer.rate_limiter import RateLimiter

log = structlog.get_logger()

_DELETE_BATCH_SIZE = 100
"""Versions deleted in one request: a longer one would delay the recorders' PUTs."""
_RECHECK_INTERVAL_US = DAY_US
"""How long a day's folder that was found empty is not listed again."""


@dataclass(frozen=True, slots=True)
class ExpiryRequest:
    """Delete request: a camera's footage before `edge_us`, with the reason. `now_us`: the trusted time."""

    camera_id: str
    edge_us: int
    reason: str
    indexed_hours: Sequence[int]
    now_us: int


@dataclass(slots=True)
class ExpiryResult:
    """The result of a round.

    Attributes:
        deleted: versions deleted.
        evicted: segments removed from the index.
        locked_keys: keys announced as expired that the store refuses to delete: an unexpected lock, or
            another party's legal hold.
        locked_hours: hours not announced as expired, because the store still locks their objects.
    """

    deleted: int = 0
    evicted: int = 0
    locked_keys: list[str] = field(default_factory=list[str])
    locked_hours: list[int] = field(default_factory=list[int])


class Expirer:
    """Not for concurrent use. Methods raise `Retriable` and `IndexChanged`: the round is repeated later."""

    def __init__(self, deps: Dependencies, store: HoldStore, rate_limiter: RateLimiter) -> None:
        self._deps = deps
        self._store = store
        self._rate_limiter = rate_limiter
        self._event_number = 0
        self._empty_since_us: dict[str, int] = {}

    async def run(self, request: ExpiryRequest, *, build: str) -> ExpiryResult:
        """Runs a round for one camera."""
        hours = await self._hours_before_edge(request)
        held = await self._held_intervals(request.camera_id)
        due = [hour_us for hour_us in hours if is_due(hour_us, request.edge_us, held)]
        result = ExpiryResult(locked_hours=await self._locked_hours(request, due))
        kept_intervals = merge([*held, *((hour_us, hour_us + HOUR_US) for hour_us in result.locked_hours)])
        since_us = await self._earliest_known_us(request.camera_id, hours)
        await self._publish_if_new(request, ranges_to_expire(since_us, request.edge_us, kept_intervals), build=build)
        for hour_us in due:
            if hour_us not in result.locked_hours:
                await self._delete_hour(request.camera_id, hour_us, result, build=build)
        await self._evict_obsolete_events(request.camera_id, request.edge_us)
        return result

    async def republish(self, camera_id: str, now_us: int, *, build: str) -> None:
        """Publishes all expired intervals again, before the topic drops them. `now_us`: the trusted time of retention.

        Intervals younger than a day are left out: an earlier version indexed them without validation.
        """
        expired = (await self._deps.index.expired_intervals([camera_id]))[camera_id]
        old = [one for one in expired if one[1] <= now_us - MIN_EXPIRED_AGE_US]
        if len(old) < len(expired):
            reason = (
                "younger than a day, so not from retention: run districam-indexer rebuild to index the footage again"
            )
            log.error("invalid expired interval in the index", camera_id=camera_id, why=reason)
        await self._publish(camera_id, old, "repeated", build=build)
        await self._evict_obsolete_events(camera_id, 0)

    async def _hours_before_edge(self, request: ExpiryRequest) -> list[int]:
        """Starts of the hours before the edge with indexed or stored segments; these may differ."""
        found = {hour_us for hour_us in request.indexed_hours if hour_us < request.edge_us}
        for day in await self._deps.bucket.common_prefixes(f"{request.camera_id}/"):
            if _parse_folder_us(day, request.edge_us) < request.edge_us and not await self._is_empty(day):
                hours = [
                    _parse_folder_us(hour, request.edge_us) for hour in await self._deps.bucket.common_prefixes(day)
                ]
                found |= {hour_us for hour_us in hours if hour_us < request.edge_us}
        return sorted(found)

    async def _is_empty(self, day: str) -> bool:
        """Whether a day's folder has no versions: SeaweedFS lists folders long after they are empty."""
        now_us = self._deps.runtime.clock.monotonic_us()
        if now_us - self._empty_since_us.get(day, -_RECHECK_INTERVAL_US) < _RECHECK_INTERVAL_US:
            return True
        async with aclosing(self._deps.bucket.versions(day)) as versions:
            async for _ in versions:
                return False
        self._empty_since_us[day] = now_us
        return True

    async def _held_intervals(self, camera_id: str) -> list[Interval]:
        return (await self._store.list_active()).intervals_of(camera_id)

    async def _locked_hours(self, request: ExpiryRequest, due: Sequence[int]) -> list[int]:
        """Of the hours not announced as expired yet, those whose last segment is locked in the store.

        They must not be announced as expired. Locks end in recording order, so the last segment decides.
        """
        expired = (await self._deps.index.expired_intervals([request.camera_id]))[request.camera_id]
        locked: list[int] = []
        for hour_us in due:
            is_expired = is_covered((hour_us, min(hour_us + HOUR_US, request.edge_us)), expired)
            if is_expired or not may_be_locked(hour_us, request.now_us):
                continue
            versions = [
                one async for one, _ in self._segment_versions(request.camera_id, hour_us) if not one.is_delete_marker
            ]
            until_us = (
                await self._deps.bucket.retained_until_us(versions[-1].key, versions[-1].version_id) if versions else 0
            )
            if until_us > request.now_us:
                locked.append(hour_us)
        return locked

    async def _earliest_known_us(self, camera_id: str, hours: Sequence[int]) -> int:
        """The earliest time of anything known of the camera: revisions, events, expired intervals, hours."""
        index = self._deps.index
        revision_times_us = [one.updated_us for one in await index.revisions(camera_id)]
        event_times_us = [one.event.at_us for one in await index.events(camera_id)]
        expired_times_us = [from_us for from_us, _ in (await index.expired_intervals([camera_id]))[camera_id]]
        return min([*revision_times_us, *event_times_us, *expired_times_us, *hours, FOREVER])

    async def _publish_if_new(self, request: ExpiryRequest, ranges: Sequence[Interval], *, build: str) -> None:
        expired = (await self._deps.index.expired_intervals([request.camera_id]))[request.camera_id]
        if has_unexpired(ranges, expired):
            await self._publish(request.camera_id, ranges, request.reason, build=build)

    async def _publish(self, camera_id: str, ranges: Iterable[Interval], reason: str, *, build: str) -> None:
        """Publishes expired intervals to the topic, which outlives the index, then writes them to the index.

        Raises:
            Retriable: an interval is too young by the broker's clock.
        """
        for from_us, to_us in ranges:
            self._event_number += 1
            event = FootageExpired(
                camera_id=camera_id,
                at_us=self._deps.runtime.clock.now_us(),
                instance=self._deps.runtime.instance,
                from_us=from_us,
                to_us=to_us,
                reason=reason,
            )
            site = self._deps.settings.site
            message = wire.event_message(event, self._event_number, site=site, service="indexer")
            ack = await self._deps.publisher.publish(names.RETENTION, message)
            if reason_too_young := rejection_reason(event, names.RETENTION, ack.append_us, self._deps.streams_until_us):
                raise Retriable(f"too young to expire by the broker's clock: {reason_too_young}")
            await self._deps.writer.apply_when_full(to_batch(plan_event(event, ack.append_us)), build=build)

    async def _delete_hour(self, camera_id: str, hour_us: int, result: ExpiryResult, *, build: str) -> None:
        """Reads the holds again, deletes the hour's segments that are expired and not held, then evicts them."""
        expired = (await self._deps.index.expired_intervals([camera_id]))[camera_id]
        held = await self._held_intervals(camera_id)
        kept_keys: set[str] = set()
        to_delete: list[ObjectVersion] = []
        async for version, name in self._segment_versions(camera_id, hour_us):
            if is_deletable((name.entry.start_us, name.entry.end_us), expired, held):
                to_delete.append(version)
            else:
                kept_keys.add(version.key)
        for n in range(0, len(to_delete), _DELETE_BATCH_SIZE):
            kept_keys |= await self._delete_versions(to_delete[n : n + _DELETE_BATCH_SIZE], result)

        def should_evict(entry: IndexEntry) -> bool:
            may_delete = is_deletable((entry.start_us, entry.end_us), expired, held)
            return may_delete and names.segment_object_key(camera_id, entry) not in kept_keys

        result.evicted += await self._deps.evictor.evict(camera_id, hour_us, should_evict, build=build)

    async def _segment_versions(
        self, camera_id: str, hour_us: int
    ) -> AsyncIterator[tuple[ObjectVersion, SegmentKeyFields]]:
        async for version in self._deps.bucket.versions(names.hour_prefix(camera_id, hour_us)):
            try:
                yield version, names.parse_segment_object_key(version.key, version.size)
            except ValueError:
                log.warning("object that is not a segment ignored", key=version.key[:300])

    async def _delete_versions(self, versions: Sequence[ObjectVersion], result: ExpiryResult) -> set[str]:
        """Deletes versions; returns the keys that the store refused: locked, or under a legal hold not of ours."""
        await self._rate_limiter.acquire(len(versions))
        bucket = self._deps.bucket
        refused = await bucket.delete_versions(versions)
        formerly_held = await self._find_formerly_held(refused)
        for version in formerly_held:
            await bucket.disable_legal_hold(version.key, version.version_id or "")
        still_refused = set(await bucket.delete_versions(formerly_held)) if formerly_held else set[ObjectVersion]()
        kept_keys = {one.key for one in refused if one not in formerly_held or one in still_refused}
        result.deleted += len(versions) - len(kept_keys)
        metrics.DELETED_VERSIONS.inc(len(versions) - len(kept_keys))
        metrics.LOCKED_VERSIONS.inc(len(kept_keys))
        result.locked_keys += sorted(kept_keys)
        return kept_keys

    async def _find_formerly_held(self, refused: Sequence[ObjectVersion]) -> list[ObjectVersion]:
        """The refused versions in the window of a released hold, whose legal hold is therefore ours to remove."""
        if not refused:
            return []
        released = await self._store.list_released()
        formerly_held: list[ObjectVersion] = []
        for one in refused:
            fields = names.parse_segment_object_key(one.key, one.size)
            windows = merge((r.from_us, r.to_us) for r in released if r.camera_id == fields.camera_id)
            if intersects(windows, fields.entry.start_us, fields.entry.end_us):
                formerly_held.append(one)
        return formerly_held

    async def _evict_obsolete_events(self, camera_id: str, edge_us: int) -> None:
        """Removes events from the index that no longer explain any kept or held footage."""
        held = await self._held_intervals(camera_id)
        before_us = min([edge_us, *(from_us for from_us, _ in held)])
        events = await self._deps.index.events_by_member(camera_id)
        await self._deps.evictor.evict_events(camera_id, obsolete_events(events, before_us))


def _parse_folder_us(folder: str, default_us: int) -> int:
    """Start time of a day's or hour's folder; `default_us` for any other."""
    try:
        return names.parse_hour_prefix(folder)
    except ValueError:
        log.warning("unknown folder in the bucket ignored", folder=folder[:300])
        return default_us
