"""What a hold needs of the store: which versions go under legal hold, which markers of deletion are taken back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from districam_common.contract.events import PartitionFell, SegmentStored
from districam_common.contract.names import HOUR_US, parse_segment_key
from districam_common.ledger.causes import Told
from districam_common.ledger.holds import (
    Hold,
    HoldEvents,
    HoldState,
    Protection,
    UnreadHold,
    copied,
    copied_fell,
    witnesses,
)
from districam_common.ledger.intervals import Interval, merge, touches
from districam_common.s3.store_listing import Version

MANY = 64


@dataclass(frozen=True, slots=True)
class Work:
    """What is in a hold's window: versions to keep, and markers that hide them from whoever asks by key."""

    versions: tuple[Version, ...]
    markers: tuple[Version, ...]


class Arrivals:
    """Where footage has been announced, by camera, since it was last asked for.

    Merged whenever a camera's intervals are many: of what follows one another, one is left.
    """

    def __init__(self) -> None:
        self._found: dict[str, list[Interval]] = {}

    def note(self, stored: SegmentStored) -> None:
        found = self._found.setdefault(stored.camera_id, [])
        found.append((stored.start_us, stored.end_us))
        if len(found) >= MANY:
            self._found[stored.camera_id] = merge(found)

    def take(self) -> dict[str, list[Interval]]:
        """As they came; each is given once."""
        found, self._found = self._found, {}
        return found


def hours_of(hold: Hold) -> list[int]:
    """Starts of the hours under which segments that touch the window are filed: from one before it on."""
    first, last = hold.from_us // HOUR_US - 1, (hold.to_us - 1) // HOUR_US
    return [hour * HOUR_US for hour in range(max(0, first), last + 1)]


def work_of(hold: Hold, found: Iterable[Version]) -> Work:
    """What of `found` the hold is about."""
    inside = [one for one in found if _touches(hold, one)]
    return Work(
        tuple(one for one in inside if not one.is_marker), tuple(one for one in inside if one.is_marker)
    )


def _touches(hold: Hold, one: Version) -> bool:
    try:
        name = parse_segment_key(one.key, one.size)
    except ValueError:
        return False
    return name.camera_id == hold.camera_id and touches(
        [(hold.from_us, hold.to_us)], name.entry.start_us, name.entry.end_us
    )


def state_of(versions: int, held: int, *, is_whole: bool, is_protected: bool, now_us: int) -> HoldState:
    """How far a hold is applied. Without protection by the store there is nothing to apply."""
    state: Protection = "advisory"
    if is_protected:
        state = "enforced" if is_whole and held >= versions else "partial"
    return HoldState(state=state, versions=versions, held=held if is_protected else 0, checked_us=now_us)


def is_settled(hold: Hold, log_us: int, settle_us: int) -> bool:
    """Whether all that explains the window is known, up to what is copied of it: an hour after its end. By the log's time."""
    return hold.to_us + HOUR_US + settle_us <= log_us


def to_keep(
    hold: Hold, kept: HoldEvents | None, told: Sequence[Told], fell: Iterable[PartitionFell], log_us: int
) -> HoldEvents | None:
    """What is to be kept beside the hold now; None if the hold, and what is kept already, have all of it.

    What was kept before stays: the index may have been built anew meanwhile, from a topic that has forgotten.
    """
    old = kept or HoldEvents(id=hold.id, camera_id=hold.camera_id, log_us=0, events=(), fell=())
    events = copied(witnesses(told, hold.from_us, hold.to_us))
    touching = copied_fell(fell, hold.from_us, hold.to_us)
    more, more_fell = (
        [one for one in now if one not in {*ours, *before}]
        for now, ours, before in ((events, hold.events, old.events), (touching, hold.fell, old.fell))
    )
    if not more and not more_fell:
        return None
    return replace(
        old, log_us=max(old.log_us, log_us), events=(*old.events, *more), fell=(*old.fell, *more_fell)
    )


def in_turn(holds: Sequence[Hold], last: str) -> list[Hold]:
    """By id, beginning behind the one that was last served: who could not be served in one round is first in the next."""
    ordered = sorted(holds, key=lambda hold: hold.id)
    return [hold for hold in ordered if hold.id > last] + [hold for hold in ordered if hold.id <= last]


def needless(cached: Iterable[str], there: Sequence[Hold | UnreadHold]) -> list[str]:
    """Ids in the cache of holds that are not there; `cached` must have been read before."""
    return sorted(set(cached) - {hold.id for hold in there})
