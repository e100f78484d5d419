"""What a hold needs of the store: which versions go under legal hold, which markers of deletion are taken back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from districam_common.contract.events import PartitionTruncated, SegmentStored
from districam_common.contract.names import HOUR_US, parse_segment_object_key
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.holds import (
    Hold,
    HoldEvents,
    HoldState,
    Protection,
    UnreadableHold,
    encode_events,
    encode_truncations,
    explaining_events,
)
from districam_common.ledger.intervals import Interval, intersects, merge
from districam_common.s3.s3_listing import ObjectVersion

MAX_UNMERGED = 64


@dataclass(frozen=True, slots=True)
class HoldTargets:
    """What is in a hold's window: versions to keep, and markers that hide them from whoever asks by key."""

    versions: tuple[ObjectVersion, ...]
    delete_markers: tuple[ObjectVersion, ...]


class AnnouncedIntervals:
    """Where footage has been announced, by camera, since it was last asked for.

    Merged whenever a camera's intervals are many: of what follows one another, one is left.
    """

    def __init__(self) -> None:
        self._by_camera: dict[str, list[Interval]] = {}

    def feed(self, stored: SegmentStored) -> None:
        intervals = self._by_camera.setdefault(stored.camera_id, [])
        intervals.append((stored.start_us, stored.end_us))
        if len(intervals) >= MAX_UNMERGED:
            self._by_camera[stored.camera_id] = merge(intervals)

    def drain(self) -> dict[str, list[Interval]]:
        """As they came; each is given once."""
        by_camera, self._by_camera = self._by_camera, {}
        return by_camera


def hold_hours(hold: Hold) -> list[int]:
    """Starts of the hours under which segments that touch the window are filed: from one before it on."""
    first, last = hold.from_us // HOUR_US - 1, (hold.to_us - 1) // HOUR_US
    return [hour * HOUR_US for hour in range(max(0, first), last + 1)]


def hold_targets(hold: Hold, versions: Iterable[ObjectVersion]) -> HoldTargets:
    """What of `versions` the hold is about."""
    inside = [one for one in versions if _intersects(hold, one)]
    return HoldTargets(
        tuple(one for one in inside if not one.is_delete_marker),
        tuple(one for one in inside if one.is_delete_marker),
    )


def _intersects(hold: Hold, version: ObjectVersion) -> bool:
    try:
        fields = parse_segment_object_key(version.key, version.size)
    except ValueError:
        return False
    return fields.camera_id == hold.camera_id and intersects(
        [(hold.from_us, hold.to_us)], fields.entry.start_us, fields.entry.end_us
    )


def hold_state(versions: int, held: int, *, is_complete: bool, is_protected: bool, now_us: int) -> HoldState:
    """How far a hold is applied. Without protection by the store there is nothing to apply."""
    state: Protection = "advisory"
    if is_protected:
        state = "enforced" if is_complete and held >= versions else "partial"
    return HoldState(state=state, versions=versions, held=held if is_protected else 0, checked_us=now_us)


def is_settled(hold: Hold, watermark_us: int, settle_us: int) -> bool:
    """Whether all that explains the window is known, up to what is copied of it: an hour after its end. By the log's time."""
    return hold.to_us + HOUR_US + settle_us <= watermark_us


def events_to_archive(
    hold: Hold,
    archived: HoldEvents | None,
    events: Sequence[LoggedEvent],
    truncations: Iterable[PartitionTruncated],
    watermark_us: int,
) -> HoldEvents | None:
    """What is to be kept beside the hold now; None if the hold, and what is kept already, have all of it.

    What was kept before stays: the index may have been built anew meanwhile, from a topic that has forgotten.
    """
    old = archived or HoldEvents(id=hold.id, camera_id=hold.camera_id, log_us=0, events=(), fell=())
    encoded_events = encode_events(explaining_events(events, hold.from_us, hold.to_us))
    encoded_truncations = encode_truncations(truncations, hold.from_us, hold.to_us)
    new_events, new_truncations = (
        [one for one in now if one not in {*ours, *before}]
        for now, ours, before in (
            (encoded_events, hold.events, old.events),
            (encoded_truncations, hold.fell, old.fell),
        )
    )
    if not new_events and not new_truncations:
        return None
    return replace(
        old,
        log_us=max(old.log_us, watermark_us),
        events=(*old.events, *new_events),
        fell=(*old.fell, *new_truncations),
    )


def round_robin(holds: Sequence[Hold], last_served: str) -> list[Hold]:
    """By id, beginning behind the one that was last served: who could not be served in one round is first in the next."""
    ordered = sorted(holds, key=lambda hold: hold.id)
    return [hold for hold in ordered if hold.id > last_served] + [hold for hold in ordered if hold.id <= last_served]


def stale_cache_ids(cached: Iterable[str], existing: Sequence[Hold | UnreadableHold]) -> list[str]:
    """Ids in the cache of holds that are not there; `cached` must have been read before."""
    return sorted(set(cached) - {hold.id for hold in existing})
