"""What retention lets go of: by age, and for the budget; never what a hold keeps. No clock, no store: decisions alone."""

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
"""No footage younger than this is let go, whatever the budget."""
MAX_APPEND_DELAY_US = 900_000_000
"""Locks count from the appending of a segment's first fragment to the log, which comes this much after its start at most, or
retention finds the lock and waits."""
DEFAULT_RETENTION_DAYS = 30
"""Of a camera whose record is not known, for the budget's fairness alone: by age it loses nothing."""
_MAX_BUFFERED_HOURS = 48
"""Hours of a camera that are kept in memory while it is weighed."""
_STEPS_PER_YIELD = 1000


@dataclass(frozen=True, slots=True)
class StoredHours:
    """What a camera has stored, and what of it holds keep."""

    bytes_by_hour: Mapping[int, int]
    held: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class CameraAge:
    """What is known of a camera before its hours are read: none that may go is older than `oldest_hour_us`; 0: nothing is known.

    `retention_days`: how long its record wants it kept; None: no record is known.
    """

    retention_days: int | None
    oldest_hour_us: int = 0


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """Camera → up to where it must let go for the budget; and by how much the rest is over it still.

    `oldest_hours`: of the cameras that were read, the first hour that no hold keeps, for the next time.
    """

    edges: Mapping[str, int]
    over_bytes: int
    oldest_hours: Mapping[str, int] = field(default_factory=dict[str, int])


def trusted_now_us(host_us: int, watermarks_us: Iterable[int]) -> int:
    """The time that retention goes by: no later than the recorders' progress, so that a wrong clock deletes nothing.

    0 while no progress is known.
    """
    return min(host_us, max(watermarks_us, default=0))


def min_expiry_age_us(lock_us: int) -> int:
    """How old footage is at least before it is let go, for the budget or by age: no longer locked, above all."""
    return max(MIN_AGE_US, lock_us + MAX_APPEND_DELAY_US if lock_us else 0)


def age_limit_us(days: int | None, now_us: int, lock_us: int = 0) -> int:
    """Footage of the hours before this is older than the camera's record wants it kept, and than it is locked."""
    min_kept_us = max((days or 0) * DAY_US, min_expiry_age_us(lock_us))
    return 0 if days is None else max(0, (now_us - min_kept_us) // HOUR_US * HOUR_US)


def may_be_locked(hour_us: int, now_us: int) -> bool:
    """Whether the longest lock that can be set may keep anything of that hour still."""
    return hour_us + HOUR_US + MAX_APPEND_DELAY_US > now_us - MAX_LOCK_H * HOUR_US


def plan_budget(
    excess_bytes: int, cameras: Mapping[str, CameraAge], now_us: int, lock_us: int = 0
) -> Generator[str | None, StoredHours | None, BudgetPlan]:
    """Whose oldest hours go, until `excess_bytes` are freed: of each camera the same share of its days is kept.

    An hour that a hold touches stays, and so do the last day and what is locked. Reads no camera whose turn does not come, since a
    district has millions of hours: yields the id of the one whose stock it must be sent, and None now and then, so that
    whoever drives it can do something else.
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
    """Hours that may go, those first whose age is the largest share of what their camera's record wants."""

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
        """Takes out the camera whose turn it is, and the hour; whoever takes one calls `read` or `take` next."""
        return heappop(self._due)[1:] if self._due else None

    def has_buffered(self, camera_id: str) -> bool:
        return bool(self._buffered.get(camera_id))

    def load(self, camera_id: str, from_us: int, stored: StoredHours) -> None:
        """Its hours from there on; some of them, since there may be thousands of each of thousands of cameras."""
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
        """The bytes of the hour that `next` named."""
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
    """What is to be told as expired: everything since the beginning up to the edge that no hold keeps."""
    return subtract([(since_us, edge_us)] if since_us < edge_us else [], held)


def has_unexpired(ranges: Sequence[Interval], expired: Sequence[Interval]) -> bool:
    """Whether something of `ranges` has not been told; both merged."""
    return bool(subtract(ranges, expired))


def is_deletable(span: Interval, expired: Sequence[Interval], held: Sequence[Interval]) -> bool:
    """Whether a segment may go: all of it has been told as expired, and no hold touches it; both merged."""
    return is_covered(span, expired) and not intersects(held, *span)


def is_due(hour_us: int, edge_us: int, held: Sequence[Interval]) -> bool:
    """Whether anything that starts in that hour may have to go; not if one hold keeps all of it."""
    return hour_us < edge_us and not is_covered((hour_us, hour_us + HOUR_US), held)


# ---- what the index forgets


def obsolete_events(events: Sequence[tuple[bytes, LoggedEvent]], before_us: int) -> list[bytes]:
    """Events of a camera, as members of its set, that explain nothing any more of what is kept.

    Kept are all from `before_us` on, the last one in force before it, the last profile, and of `expired` those that no
    newer one repeats.
    """
    older = [one for _, one in events if one.event.at_us < before_us]
    last_status = [change.event for change in effective_changes(status_changes(older))][-1:]
    profiles = [one.event for _, one in events if isinstance(one.event, Profile)][-1:]
    kept = [*last_status, *profiles, *_newest_expired(one for _, one in events)]
    return [member for member, one in events if one.event not in kept and _may_be_obsolete(one, before_us)]


def _may_be_obsolete(logged: LoggedEvent, before_us: int) -> bool:
    return logged.event.at_us < before_us or isinstance(logged.event, FootageExpired)


def _newest_expired(events: Iterable[LoggedEvent]) -> list[FootageExpired]:
    """Those that say what no newer one says."""
    expired = sorted((t.event for t in events if isinstance(t.event, FootageExpired)), key=lambda e: e.at_us)
    kept: list[FootageExpired] = []
    covered: list[Interval] = []
    for event in reversed(expired):
        if not is_covered((event.from_us, event.to_us), covered):
            kept.append(event)
            covered = merge([*covered, (event.from_us, event.to_us)])
    return kept


def redundant_ranges(ranges: Iterable[Interval]) -> list[Interval]:
    """Of stored ranges those that another one of them, or others together, say already."""
    kept: list[Interval] = []
    redundant: list[Interval] = []
    for one in sorted(set(ranges), key=lambda pair: pair[0] - pair[1]):
        (redundant if is_covered(one, merge(kept)) else kept).append(one)
    return redundant
