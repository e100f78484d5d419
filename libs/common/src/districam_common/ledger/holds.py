"""Holds: footage exempt from retention and the byte budget. Pure; `hold_store` reads and writes the objects."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from districam_common.contract import wire
from districam_common.contract.events import Connected, FootageExpired, Lost, PartitionTruncated, Refused, Shed
from districam_common.contract.fields import CameraId, Count, Instant
from districam_common.contract.media import CAMERA_ID
from districam_common.contract.names import HOUR_US
from districam_common.ledger.causes import (
    FOREVER,
    LoggedEvent,
    StatusChange,
    effective_changes,
    event_effective_us,
    status_changes,
)
from districam_common.ledger.intervals import Interval, merge

HoldId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Protection = Literal["enforced", "advisory", "partial"]
"""`enforced`: the store refuses to delete. `advisory`: only retention is prevented from deleting. `partial`: in progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The object `_districam/holds/{id}.json`. It is never changed.

    Attributes:
        camera_id: the camera whose footage is held.
        from_us: µs UTC, inclusive.
        to_us: µs UTC, exclusive; may lie in the future.
        reason: why, in the operator's words.
        case_number: the operator's case reference; may be empty.
        placed_by: id of the API key that placed it.
        placed_by_name: that key's name at the time.
        placed_us: when it was placed, µs UTC, by the api's host clock, and no earlier than `placed_log_us`.
        placed_log_us: the camera's `log_us` at that time, by the brokers' clock; 0 if unknown. A host's clock may be wrong.
        events: events that explain the window, copied from the index, because the topic's retention deletes them.
        fell: `partition.fell` events that touch the window, likewise.
    """

    id: HoldId
    camera_id: CameraId
    from_us: Instant
    to_us: Instant
    reason: str
    case_number: str = ""
    placed_by: str
    placed_by_name: str = ""
    placed_us: Instant
    placed_log_us: Instant = 0
    events: tuple[str, ...] = ()
    fell: tuple[str, ...] = ()
    schema: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedHold(Hold):
    """A released hold, with who released it, when and why."""

    released_by: str
    released_by_name: str = ""
    released_us: Instant
    release_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEvents:
    """The object `_districam/hold-events/{id}.json`: the events that explain a hold's window, as known at `log_us`.

    Written when the window has settled, and again if more becomes known; events are only added.
    """

    id: HoldId
    camera_id: CameraId
    log_us: Instant
    events: tuple[str, ...]
    fell: tuple[str, ...]
    schema: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldState:
    """The indexer's progress with a hold: `held` of the `versions` object versions in its window are under legal hold."""

    state: Protection
    versions: Count
    held: Count
    checked_us: Instant


UNKNOWN_HOLD_STATE = HoldState(state="partial", versions=0, held=0, checked_us=0)
"""State of a hold that no indexer has processed yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableHold:
    """An object with a hold's key that cannot be decoded: everything that it may refer to counts as held.

    Attributes:
        camera_id: the camera, if it can be read; None: it may be any camera.
        from_us: µs UTC; 0 if unknown.
        to_us: µs UTC; beyond any instant if unknown.
        why: what is wrong with it.
    """

    id: str
    camera_id: str | None = None
    from_us: int = 0
    to_us: int = FOREVER
    why: str


def describe_unreadable_hold(hold_id: str, body: bytes, why: str) -> UnreadableHold:
    """Reads the camera and interval of an undecodable hold, if possible: a newer version's is at least JSON."""
    try:
        fields: Any = json.loads(body)
        camera_id = fields["camera_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return UnreadableHold(id=hold_id, why=why)
    if not isinstance(camera_id, str) or CAMERA_ID.fullmatch(camera_id) is None:
        return UnreadableHold(id=hold_id, why=why)
    from_us, to_us = fields.get("from_us"), fields.get("to_us")
    if type(from_us) is not int or type(to_us) is not int or not 0 <= from_us < to_us:
        return UnreadableHold(id=hold_id, camera_id=camera_id, why=why)
    return UnreadableHold(id=hold_id, camera_id=camera_id, from_us=from_us, to_us=to_us, why=why)


@dataclass(frozen=True, slots=True)
class Holds:
    """All holds that are not released, by id: the decoded ones, and those that cannot be decoded."""

    readable: tuple[Hold, ...]
    unreadable: tuple[UnreadableHold, ...] = ()

    def intervals_of(self, camera_id: str) -> list[Interval]:
        """The held intervals of that camera, merged; includes unreadable holds that may be of this camera."""
        known = [(hold.from_us, hold.to_us) for hold in self.readable if hold.camera_id == camera_id]
        unknown = [(hold.from_us, hold.to_us) for hold in self.unreadable if hold.camera_id in (None, camera_id)]
        return merge([*known, *unknown])

    def intervals_by_camera(self) -> dict[str, list[Interval]]:
        """`intervals_of` each camera with holds, but without `of_unknown_camera`, which would apply to all cameras."""
        out: dict[str, list[Interval]] = {}
        for hold in (*self.readable, *self.unreadable):
            if hold.camera_id is not None:
                out.setdefault(hold.camera_id, []).append((hold.from_us, hold.to_us))
        return {camera_id: merge(windows) for camera_id, windows in out.items()}

    @property
    def of_unknown_camera(self) -> list[UnreadableHold]:
        """Unreadable holds that may be of any camera: while there are any, nothing may be deleted."""
        return [hold for hold in self.unreadable if hold.camera_id is None]


def explaining_events(events: Sequence[LoggedEvent], from_us: int, to_us: int) -> list[LoggedEvent]:
    """The events that explain [from_us, to_us), in the order given: inside it, within one hour after it, the last before it."""
    changes = status_changes(events)
    before = [change.event for change in effective_changes(changes) if change.effective_us <= from_us][-1:]
    corrected = _instances_with_fast_clock(changes, events)
    found = [
        one.event in before
        or _is_relevant(one, from_us, to_us)
        or (one.status_change is not None and one.status_change.event.instance in corrected)
        for one in events
    ]
    ended = {t.event.epoch for t, is_found in zip(events, found, strict=True) if is_found and isinstance(t.event, Lost)}
    begun = [isinstance(one.event, Connected) and one.event.epoch in ended for one in events]
    return [one for one, *why in zip(events, found, begun, strict=True) if any(why)]


def _instances_with_fast_clock(changes: Iterable[StatusChange], events: Iterable[LoggedEvent]) -> set[str]:
    """Ingests whose clock was ahead, as their later events show; all events of these must be kept to show it again."""
    effects_us = {change.event: change.effective_us for change in reversed(list(changes))}
    return {
        one.status_change.event.instance
        for one in events
        if one.status_change and effects_us[one.status_change.event] < one.status_change.effective_us
    }


def _is_relevant(one: LoggedEvent, from_us: int, to_us: int) -> bool:
    match one.event:
        case FootageExpired():
            return False
        case Shed(start_us=start_us, end_us=end_us):
            return start_us < to_us and from_us < end_us
        case Connected() | Lost() | Refused() as event:
            instants_us = (
                event_effective_us(event),
                one.status_change.effective_us if one.status_change else 0,
            )  # two instants, because the ingest's clock may have been ahead
            since_us = from_us - HOUR_US * isinstance(event, Connected)  # holes are counted from the epoch's beginning
            return any(since_us <= at_us < to_us + HOUR_US for at_us in instants_us)
        case event:
            return from_us <= event.at_us < to_us


def encode_events(events: Iterable[LoggedEvent]) -> tuple[str, ...]:
    """Events as JSON, as stored in the index."""
    return tuple(wire.encode_indexed_event(one.event, one.appended_us).decode() for one in events)


def encode_truncations(truncations: Iterable[PartitionTruncated], from_us: int, to_us: int) -> tuple[str, ...]:
    """The truncations that touch [from_us, to_us), as JSON, as stored in the index."""
    return tuple(
        wire.encode_indexed_event(one, 0).decode() for one in truncations if one.from_us < to_us and from_us < one.to_us
    )


def encode_cached_hold(hold: Hold) -> bytes:
    """The hold as stored in `dc1:holds`: without the copied events, which may be many."""
    return wire.encode_json(replace(hold, events=(), fell=()))
