"""What retention lets go of: by age, and for the budget; never what a hold keeps. No clock, no store: decisions alone."""

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, nsmallest

from districam_common.contract.events import FootageExpired, Profile
from districam_common.contract.names import DAY_US, HOUR_US, LOCK_MOST_H
from districam_common.ledger.causes import Told, happenings, in_force
from districam_common.ledger.intervals import Interval, merge, subtract, touches
from districam_indexer.core.plan import is_inside

LEAST_US = DAY_US
"""No footage younger than this is let go, whatever the budget."""
LATE_US = 900_000_000
"""Locks count from the appending of a segment's first fragment to the log, which comes this much after its start at most, or
retention finds the lock and waits."""
DEFAULT_DAYS = 30
"""Of a camera whose record is not known, for the budget's fairness alone: by age it loses nothing."""
_AHEAD = 48
"""Hours of a camera that are kept in memory while it is weighed."""
_PAUSE_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Stock:
    """What a camera has stored, and what of it holds keep."""

    bytes_by_hour: Mapping[int, int]
    held: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class Oldest:
    """What is known of a camera before its hours are read: none that may go is older than `hour_us`; 0: nothing is known.

    `days`: how long its record wants it kept; None: no record is known.
    """

    days: int | None
    hour_us: int = 0


@dataclass(frozen=True, slots=True)
class Freed:
    """Camera → up to where it must let go for the budget; and by how much the rest is over it still.

    `oldest`: of the cameras that were read, the first hour that no hold keeps, for the next time.
    """

    edges: Mapping[str, int]
    over_bytes: int
    oldest: Mapping[str, int] = field(default_factory=dict[str, int])


def believed_now_us(host_us: int, logged: Iterable[int]) -> int:
    """The time that retention goes by: no later than the recorders' progress, so that a wrong clock deletes nothing.

    0 while no progress is known.
    """
    return min(host_us, max(logged, default=0))


def least_us(lock_us: int) -> int:
    """How old footage is at least before it is let go, for the budget or by age: no longer locked, above all."""
    return max(LEAST_US, lock_us + LATE_US if lock_us else 0)


def edge_by_age(days: int | None, now_us: int, lock_us: int = 0) -> int:
    """Footage of the hours before this is older than the camera's record wants it kept, and than it is locked."""
    kept_us = max((days or 0) * DAY_US, least_us(lock_us))
    return 0 if days is None else max(0, (now_us - kept_us) // HOUR_US * HOUR_US)


def may_be_locked(hour_us: int, now_us: int) -> bool:
    """Whether the longest lock that can be set may keep anything of that hour still."""
    return hour_us + HOUR_US + LATE_US > now_us - LOCK_MOST_H * HOUR_US


def freeing(
    excess_bytes: int, cameras: Mapping[str, Oldest], now_us: int, lock_us: int = 0
) -> Generator[str | None, Stock | None, Freed]:
    """Whose oldest hours go, until `excess_bytes` are freed: of each camera the same share of its days is kept.

    An hour that a hold touches stays, and so do the last day and what is locked. Reads no camera whose turn does not come, since a
    district has millions of hours: yields the id of the one whose stock it must be sent, and None now and then, so that
    whoever drives it can do something else.
    """
    queue = _Queue(cameras, now_us, least_us(lock_us))
    edges: dict[str, int] = {}
    steps = 0
    while excess_bytes > 0 and (due := queue.next()):
        camera_id, hour_us = due
        steps += 1
        if not queue.is_read(camera_id):
            stock = yield camera_id
            queue.read(camera_id, hour_us, stock or Stock({}))
            continue
        excess_bytes -= queue.take(camera_id)
        edges[camera_id] = max(edges.get(camera_id, 0), hour_us + HOUR_US)
        if steps % _PAUSE_STEPS == 0:
            yield None
    return Freed(edges, max(0, excess_bytes), queue.oldest)


class _Queue:
    """Hours that may go, those first whose age is the largest share of what their camera's record wants."""

    def __init__(self, cameras: Mapping[str, Oldest], now_us: int, youngest_us: int) -> None:
        self.oldest: dict[str, int] = {}
        self._youngest_us = youngest_us
        self._days = {camera_id: one.days or DEFAULT_DAYS for camera_id, one in cameras.items()}
        self._now_us = now_us
        self._ahead: dict[str, deque[tuple[int, int]]] = {}
        self._due: list[tuple[float, str, int]] = []
        for camera_id, one in cameras.items():
            self._add(camera_id, one.hour_us)

    def next(self) -> tuple[str, int] | None:
        """Takes out the camera whose turn it is, and the hour; whoever takes one calls `read` or `take` next."""
        return heappop(self._due)[1:] if self._due else None

    def is_read(self, camera_id: str) -> bool:
        return bool(self._ahead.get(camera_id))

    def read(self, camera_id: str, from_us: int, stock: Stock) -> None:
        """Its hours from there on; some of them, since there may be thousands of each of thousands of cameras."""
        free = {
            hour_us: size
            for hour_us, size in stock.bytes_by_hour.items()
            if hour_us >= from_us and not touches(stock.held, hour_us, hour_us + HOUR_US)
        }
        some = nsmallest(_AHEAD, (one for one in free.items() if self._may_go(one[0])))
        self._ahead[camera_id] = deque(some)
        self.oldest.setdefault(camera_id, min(free, default=self._now_us))
        if some:
            self._add(camera_id, some[0][0])

    def take(self, camera_id: str) -> int:
        """The bytes of the hour that `next` named."""
        hours = self._ahead[camera_id]
        hour_us, size = hours.popleft()
        self._add(camera_id, hours[0][0] if hours else hour_us + HOUR_US)
        return size

    def _add(self, camera_id: str, hour_us: int) -> None:
        if self._may_go(hour_us):
            share = (self._now_us - hour_us) / self._days[camera_id]
            heappush(self._due, (-share, camera_id, hour_us))

    def _may_go(self, hour_us: int) -> bool:
        return hour_us + HOUR_US <= self._now_us - self._youngest_us


def let_go(since_us: int, edge_us: int, held: Sequence[Interval]) -> list[Interval]:
    """What is to be told as expired: everything since the beginning up to the edge that no hold keeps."""
    return subtract([(since_us, edge_us)] if since_us < edge_us else [], held)


def untold(ranges: Sequence[Interval], expired: Sequence[Interval]) -> bool:
    """Whether something of `ranges` has not been told; both merged."""
    return bool(subtract(ranges, expired))


def is_deletable(span: Interval, expired: Sequence[Interval], held: Sequence[Interval]) -> bool:
    """Whether a segment may go: all of it has been told as expired, and no hold touches it; both merged."""
    return is_inside(span, expired) and not touches(held, *span)


def is_due(hour_us: int, edge_us: int, held: Sequence[Interval]) -> bool:
    """Whether anything that starts in that hour may have to go; not if one hold keeps all of it."""
    return hour_us < edge_us and not is_inside((hour_us, hour_us + HOUR_US), held)


# ---- what the index forgets


def superfluous(told: Sequence[tuple[bytes, Told]], before_us: int) -> list[bytes]:
    """Events of a camera, as members of its set, that explain nothing any more of what is kept.

    Kept are all from `before_us` on, the last one in force before it, the last profile, and of `expired` those that no
    newer one repeats.
    """
    older = [one for _, one in told if one.event.at_us < before_us]
    standing = [word.event for word in in_force(happenings(older))][-1:]
    profiles = [one.event for _, one in told if isinstance(one.event, Profile)][-1:]
    kept = [*standing, *profiles, *_newest_expired(one for _, one in told)]
    return [member for member, one in told if one.event not in kept and _is_over(one, before_us)]


def _is_over(one: Told, before_us: int) -> bool:
    return one.event.at_us < before_us or isinstance(one.event, FootageExpired)


def _newest_expired(told: Iterable[Told]) -> list[FootageExpired]:
    """Those that say what no newer one says."""
    found = sorted((t.event for t in told if isinstance(t.event, FootageExpired)), key=lambda e: e.at_us)
    kept: list[FootageExpired] = []
    said: list[Interval] = []
    for event in reversed(found):
        if not is_inside((event.from_us, event.to_us), said):
            kept.append(event)
            said = merge([*said, (event.from_us, event.to_us)])
    return kept


def repeated(ranges: Iterable[Interval]) -> list[Interval]:
    """Of stored ranges those that another one of them, or others together, say already."""
    kept: list[Interval] = []
    out: list[Interval] = []
    for one in sorted(set(ranges), key=lambda pair: pair[0] - pair[1]):
        (out if is_inside(one, merge(kept)) else kept).append(one)
    return out
