"""What retention lets go of: by age, and for the budget; never what a hold keeps. No clock, no store: decisions alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from districam_common.causes import Told, happenings
from districam_common.events import FootageExpired, Profile
from districam_common.intervals import Interval, merge, subtract, touches
from districam_common.names import DAY_US, HOUR_US
from districam_indexer.core.plan import is_inside

LEAST_US = DAY_US
"""No footage younger than this is let go, whatever the budget."""
DEFAULT_DAYS = 30
"""Of a camera whose record is not known, for the budget's fairness alone: by age it loses nothing."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What a camera has stored. `days`: how long its record wants it kept; None: no record is known."""

    days: int | None
    bytes_by_hour: Mapping[int, int]
    held: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class Freed:
    """Camera → up to where it must let go for the budget; and by how much the rest is over it still."""

    edges: Mapping[str, int]
    over_bytes: int


def believed_now_us(host_us: int, logged: Iterable[int]) -> int:
    """The time that retention goes by: no later than the recorders' progress, so that a wrong clock deletes nothing.

    0 while no progress is known.
    """
    return min(host_us, max(logged, default=0))


def edge_by_age(days: int | None, now_us: int) -> int:
    """Footage of the hours before this is older than the camera's record wants it kept."""
    return 0 if days is None else max(0, (now_us - days * DAY_US) // HOUR_US * HOUR_US)


def free_for(budget_bytes: int, stocks: Mapping[str, Stock], now_us: int) -> Freed:
    """Whose oldest hours go, until all fits the budget: of each camera the same share of its days is kept.

    An hour that a hold touches stays, and so does the last day.
    """
    excess = sum(sum(stock.bytes_by_hour.values()) for stock in stocks.values()) - budget_bytes
    edges: dict[str, int] = {}
    for camera_id, hour_us in _by_age_for_its_days(stocks, now_us):
        if excess <= 0:
            break
        excess -= stocks[camera_id].bytes_by_hour[hour_us]
        edges[camera_id] = max(edges.get(camera_id, 0), hour_us + HOUR_US)
    return Freed(edges, max(0, excess))


def _by_age_for_its_days(stocks: Mapping[str, Stock], now_us: int) -> list[tuple[str, int]]:
    """(camera, hour) that may go, those first whose age is the largest share of what their record wants."""
    found = [
        ((now_us - hour_us) / (stock.days or DEFAULT_DAYS), camera_id, hour_us)
        for camera_id, stock in stocks.items()
        for hour_us in stock.bytes_by_hour
        if hour_us + HOUR_US <= now_us - LEAST_US and not touches(stock.held, hour_us, hour_us + HOUR_US)
    ]
    return [(camera_id, hour_us) for _, camera_id, hour_us in sorted(found, reverse=True)]


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
    in_force = happenings(older)[-1:]
    profiles = [one.event for _, one in told if isinstance(one.event, Profile)][-1:]
    kept = [*in_force, *profiles, *_newest_expired(one for _, one in told)]
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
