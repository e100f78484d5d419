"""Rules of holds: versions that need a legal hold, delete markers to remove, events to archive."""

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
    """Contents of a hold's window: versions to keep, and delete markers that hide them from a GET by key."""

    versions: tuple[ObjectVersion, ...]
    delete_markers: tuple[ObjectVersion, ...]


class AnnouncedIntervals:
    """Intervals of footage announced since the last `drain`, by camera; merged to bound memory."""

    def __init__(self) -> None:
        self._by_camera: dict[str, list[Interval]] = {}

    def feed(self, stored: SegmentStored) -> None:
        intervals = self._by_camera.setdefault(stored.camera_id, [])
        intervals.append((stored.start_us, stored.end_us))
        if len(intervals) >= MAX_UNMERGED:
            self._by_camera[stored.camera_id] = merge(intervals)

    def drain(self) -> dict[str, list[Interval]]:
        """Returns the intervals by camera, and clears them."""
        by_camera, self._by_camera = self._by_camera, {}
        return by_camera


def hold_hours(hold: Hold) -> list[int]:
    """Starts of the hours whose segments may touch the window: segments are filed by start, so one hour before too."""
    first, last = hold.from_us // HOUR_US - 1, (hold.to_us - 1) // HOUR_US
    return [hour * HOUR_US for hour in range(max(0, first), last + 1)]


def hold_targets(hold: Hold, versions: Iterable[ObjectVersion]) -> HoldTargets:
    """Those of `versions` whose segment is the camera's and intersects the hold's window."""
    inside = [one for one in versions if _intersects(hold, one)]
    return HoldTargets(
        tuple(one for one in inside if not one.is_delete_marker), tuple(one for one in inside if one.is_delete_marker)
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
    """The state of a hold: `advisory` without protection by the store, else `enforced` or `partial`."""
    state: Protection = "advisory"
    if is_protected:
        state = "enforced" if is_complete and held >= versions else "partial"
    return HoldState(state=state, versions=versions, held=held if is_protected else 0, checked_us=now_us)


def is_settled(hold: Hold, watermark_us: int, settle_us: int) -> bool:
    """Whether the watermark is past the window's archived events, which go up to an hour after its end."""
    return hold.to_us + HOUR_US + settle_us <= watermark_us


def events_to_archive(
    hold: Hold,
    archived: HoldEvents | None,
    events: Sequence[LoggedEvent],
    truncations: Iterable[PartitionTruncated],
    watermark_us: int,
) -> HoldEvents | None:
    """The archive to write for a hold; None if the hold and `archived` contain all events.

    Archived events are never removed: a rebuilt index may lack those that the topic has dropped.
    """
    old = archived or HoldEvents(id=hold.id, camera_id=hold.camera_id, log_us=0, events=(), fell=())
    encoded_events = encode_events(explaining_events(events, hold.from_us, hold.to_us))
    encoded_truncations = encode_truncations(truncations, hold.from_us, hold.to_us)
    new_events, new_truncations = (
        [one for one in now if one not in {*ours, *before}]
        for now, ours, before in ((encoded_events, hold.events, old.events), (encoded_truncations, hold.fell, old.fell))
    )
    if not new_events and not new_truncations:
        return None
    return replace(
        old, log_us=max(old.log_us, watermark_us), events=(*old.events, *new_events), fell=(*old.fell, *new_truncations)
    )


def round_robin(holds: Sequence[Hold], last_served: str) -> list[Hold]:
    """The holds by id, beginning after `last_served`: those not served in one round are first in the next."""
    ordered = sorted(holds, key=lambda hold: hold.id)
    return [hold for hold in ordered if hold.id > last_served] + [hold for hold in ordered if hold.id <= last_served]


def stale_cache_ids(cached: Iterable[str], existing: Sequence[Hold | UnreadableHold]) -> list[str]:
    """Cached ids of holds that no longer exist; `cached` must have been read before `existing`."""
    return sorted(set(cached) - {hold.id for hold in existing})
