"""Decides what expires: by age and by the budget, never held footage. Pure."""

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, nsmallest

from districam_common.contract.events import FootageExpired, Profile
from districam_common.contract.names import DAY_US, HOUR_US, MAX_LOCK_H
from districam_common.ledger.causes import LoggedEvent, effective_changes, status_changes
from districam_common.ledger.intervals import Interval, intersects, merge, subtract
from districam_indexer.core.plan import is_covered

MIN_AGE_US = DAY_US
"""No footage younger than this expires, whatever the budget."""
MAX_APPEND_DELAY_US = 900_000_000
"""Assumed bound of the time from a segment's start to the append of its first fragment, from which locks
count. Beyond it, retention finds the lock and retries."""
DEFAULT_RETENTION_DAYS = 30
"""For cameras without a known record, in the budget's plan only: their footage does not expire by age."""
_MAX_BUFFERED_HOURS = 48
"""Hours of a camera that are kept in memory by the budget's plan."""
_STEPS_PER_YIELD = 1000


@dataclass(frozen=True, slots=True)
class StoredHours:
    """A camera's stored bytes by hour (start, µs), and its held intervals."""

    bytes_by_hour: Mapping[int, int]
    held: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class CameraAge:
    """What is known of a camera before its hours are read.

    Attributes:
        retention_days: of its record; None: no record is known.
        oldest_hour_us: lower bound for the oldest hour that may expire; 0: unknown.
    """

    retention_days: int | None
    oldest_hour_us: int = 0


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """Per-camera deletion edges that meet the byte budget.

    Attributes:
        edges: camera → edge (µs).
        over_bytes: bytes still over the budget (held, locked or too young footage).
        oldest_hours: of the cameras read, the first unheld hour, as lower bound for the next plan.
    """

    edges: Mapping[str, int]
    over_bytes: int
    oldest_hours: Mapping[str, int] = field(default_factory=dict[str, int])


def trusted_now_us(host_us: int, watermarks_us: Iterable[int]) -> int:
    """The time that retention uses: at most the latest watermark, so that a clock that is ahead deletes nothing.

    0 if no watermark is known.
    """
    return min(host_us, max(watermarks_us, default=0))


def min_expiry_age_us(lock_us: int) -> int:
    """Minimum age of footage that expires, by age or for the budget; its lock is over by then."""
    return max(MIN_AGE_US, lock_us + MAX_APPEND_DELAY_US if lock_us else 0)


def age_limit_us(days: int | None, now_us: int, lock_us: int = 0) -> int:
    """The deletion edge by age: hours before it exceed retention and lock. 0 if `days` is None."""
    min_kept_us = max((days or 0) * DAY_US, min_expiry_age_us(lock_us))
    return 0 if days is None else max(0, (now_us - min_kept_us) // HOUR_US * HOUR_US)


def may_be_locked(hour_us: int, now_us: int) -> bool:
    """Whether the longest possible lock may still cover a segment of that hour."""
    return hour_us + HOUR_US + MAX_APPEND_DELAY_US > now_us - MAX_LOCK_H * HOUR_US


def plan_budget(
    excess_bytes: int, cameras: Mapping[str, CameraAge], now_us: int, lock_us: int = 0
) -> Generator[str | None, StoredHours | None, BudgetPlan]:
    """Plans which hours expire to free `excess_bytes`; cameras keep equal shares of their retention.

    Hours that intersect a hold, are locked, or are of the last day stay. A district has millions of hours, so
    a camera's are read only when needed.

    Yields:
        The id of a camera whose StoredHours must be sent, or, now and then, None, so that the caller can
        yield to others.
    """
    queue = _ExpiryQueue(cameras, now_us, min_expiry_age_us(lock_us))
    edges: dict[str, int] = {}
    steps = 0
    while excess_bytes > 0 and (due := queue.pop()):
        camera_id, hour_us = due
        steps += 1
        if not queue.has_buffered(camera_id):
            stored = yield camera_id
            queue.load(camera_id, hour_us, stored or StoredHours({}))
            continue
        excess_bytes -= queue.pop_hour(camera_id)
        edges[camera_id] = max(edges.get(camera_id, 0), hour_us + HOUR_US)
        if steps % _STEPS_PER_YIELD == 0:
            yield None
    return BudgetPlan(edges, max(0, excess_bytes), queue.oldest_hours)


class _ExpiryQueue:
    """Hours that may expire, by descending age relative to their camera's `retention_days`."""

    def __init__(self, cameras: Mapping[str, CameraAge], now_us: int, min_age_us: int) -> None:
        self.oldest_hours: dict[str, int] = {}
        self._min_age_us = min_age_us
        self._days = {camera_id: one.retention_days or DEFAULT_RETENTION_DAYS for camera_id, one in cameras.items()}
        self._now_us = now_us
        self._buffered: dict[str, deque[tuple[int, int]]] = {}
        self._due: list[tuple[float, str, int]] = []
        for camera_id, one in cameras.items():
            self._add(camera_id, one.oldest_hour_us)

    def pop(self) -> tuple[str, int] | None:
        """Takes the next (camera, hour); the caller must then call `load` or `pop_hour`. None if empty."""
        return heappop(self._due)[1:] if self._due else None

    def has_buffered(self, camera_id: str) -> bool:
        return bool(self._buffered.get(camera_id))

    def load(self, camera_id: str, from_us: int, stored: StoredHours) -> None:
        """Buffers the camera's first hours from `from_us` on; not all, since it may have thousands."""
        unheld = {
            hour_us: size
            for hour_us, size in stored.bytes_by_hour.items()
            if hour_us >= from_us and not intersects(stored.held, hour_us, hour_us + HOUR_US)
        }
        oldest = nsmallest(_MAX_BUFFERED_HOURS, (one for one in unheld.items() if self._may_expire(one[0])))
        self._buffered[camera_id] = deque(oldest)
        self.oldest_hours.setdefault(camera_id, min(unheld, default=self._now_us))
        if oldest:
            self._add(camera_id, oldest[0][0])

    def pop_hour(self, camera_id: str) -> int:
        """Removes the hour returned by `pop`; returns its bytes."""
        hours = self._buffered[camera_id]
        hour_us, size = hours.popleft()
        self._add(camera_id, hours[0][0] if hours else hour_us + HOUR_US)
        return size

    def _add(self, camera_id: str, hour_us: int) -> None:
        if self._may_expire(hour_us):
            share = (self._now_us - hour_us) / self._days[camera_id]
            heappush(self._due, (-share, camera_id, hour_us))

    def _may_expire(self, hour_us: int) -> bool:
        return hour_us + HOUR_US <= self._now_us - self._min_age_us


def ranges_to_expire(since_us: int, edge_us: int, held: Sequence[Interval]) -> list[Interval]:
    """The intervals to announce as expired: [since_us, edge_us) without the held ones."""
    return subtract([(since_us, edge_us)] if since_us < edge_us else [], held)


def has_unexpired(ranges: Sequence[Interval], expired: Sequence[Interval]) -> bool:
    """Whether any part of `ranges` is not in `expired`; both merged."""
    return bool(subtract(ranges, expired))


def is_deletable(span: Interval, expired: Sequence[Interval], held: Sequence[Interval]) -> bool:
    """Whether a segment may be deleted: all of it is expired, and no hold intersects it; both merged."""
    return is_covered(span, expired) and not intersects(held, *span)


def is_due(hour_us: int, edge_us: int, held: Sequence[Interval]) -> bool:
    """Whether segments that start in that hour may have to be deleted; not if one held interval covers it."""
    return hour_us < edge_us and not is_covered((hour_us, hour_us + HOUR_US), held)


# ---- events to evict from the index


def obsolete_events(events: Sequence[tuple[bytes, LoggedEvent]], before_us: int) -> list[bytes]:
    """Members of a camera's set of events that no longer explain any kept footage.

    Kept are: all from `before_us` on, the last effective status change before it, the last profile, and
    `expired` events that newer ones do not cover.
    """
    older = [one for _, one in events if one.event.at_us < before_us]
    last_status = [change.event for change in effective_changes(status_changes(older))][-1:]
    profiles = [one.event for _, one in events if isinstance(one.event, Profile)][-1:]
    kept = [*last_status, *profiles, *_newest_expired(one for _, one in events)]
    return [member for member, one in events if one.event not in kept and _may_be_obsolete(one, before_us)]


def _may_be_obsolete(logged: LoggedEvent, before_us: int) -> bool:
    return logged.event.at_us < before_us or isinstance(logged.event, FootageExpired)


def _newest_expired(events: Iterable[LoggedEvent]) -> list[FootageExpired]:
    """`expired` events that are not covered by newer ones."""
    expired = sorted((t.event for t in events if isinstance(t.event, FootageExpired)), key=lambda e: e.at_us)
    kept: list[FootageExpired] = []
    covered: list[Interval] = []
    for event in reversed(expired):
        if not is_covered((event.from_us, event.to_us), covered):
            kept.append(event)
            covered = merge([*covered, (event.from_us, event.to_us)])
    return kept


def redundant_ranges(ranges: Iterable[Interval]) -> list[Interval]:
    """Those of the stored ranges that are covered by others, alone or together."""
    kept: list[Interval] = []
    redundant: list[Interval] = []
    for one in sorted(set(ranges), key=lambda pair: pair[0] - pair[1]):
        (redundant if is_covered(one, merge(kept)) else kept).append(one)
    return redundant
