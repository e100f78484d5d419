"""Holds: footage that must stay, whatever retention and the budget say. Pure; `hold_store` has the objects."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from districam_common.contract import wire
from districam_common.contract.events import (
    Connected,
    FootageExpired,
    Lost,
    PartitionTruncated,
    Refused,
    Shed,
)
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
"""`enforced`: the store refuses to delete it. `advisory`: retention leaves it, others could delete it. `partial`: on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The object `_districam/holds/{id}.json`. It never changes.

    Attributes:
        camera_id: whose footage.
        from_us: µs UTC, inclusive.
        to_us: µs UTC, exclusive; may lie in the future.
        reason: why, in the operator's words.
        case_number: of the file it belongs to; may be empty.
        placed_by: key id of who placed it.
        placed_by_name: that key's name then.
        placed_us: when, µs UTC, by the api's host, and no earlier than `placed_log_us`.
        placed_log_us: how far the recorders had got then, by the brokers' clock; 0: not known. A host's clock may be wrong.
        events: what explains the window, as the index holds it: the topic forgets it.
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
    """A hold that is over; who released it, when and why."""

    released_by: str
    released_by_name: str = ""
    released_us: Instant
    release_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEvents:
    """The object `_districam/hold-events/{id}.json`: what explains a hold's window, as far as the truth had got at `log_us`.

    It is written when the window has settled, and again if more becomes known; it only grows.
    """

    id: HoldId
    camera_id: CameraId
    log_us: Instant
    events: tuple[str, ...]
    fell: tuple[str, ...]
    schema: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldState:
    """How far the indexer has come with a hold: of `versions` objects in its window `held` are under legal hold."""

    state: Protection
    versions: Count
    held: Count
    checked_us: Instant


UNKNOWN_HOLD_STATE = HoldState(state="partial", versions=0, held=0, checked_us=0)
"""Of a hold that no indexer has looked at yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableHold:
    """An object that has a hold's name and cannot be read as one: it keeps all that it might keep.

    Attributes:
        camera_id: whose footage, if that much can be told; None: it may be anybody's.
        from_us: µs UTC; 0 if it cannot be told.
        to_us: µs UTC; beyond any instant if it cannot be told.
        why: what is wrong with it.
    """

    id: str
    camera_id: str | None = None
    from_us: int = 0
    to_us: int = FOREVER
    why: str


def describe_unreadable_hold(hold_id: str, body: bytes, why: str) -> UnreadableHold:
    """What can be told of a hold that cannot be read: one of a newer version is JSON at least."""
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
    """All holds in force at one look, by id: those that were read, and those that could not be."""

    readable: tuple[Hold, ...]
    unreadable: tuple[UnreadableHold, ...] = ()

    def intervals_of(self, camera_id: str) -> list[Interval]:
        """What must stay of that camera, merged: what is unknown might be this."""
        known = [(hold.from_us, hold.to_us) for hold in self.readable if hold.camera_id == camera_id]
        unknown = [(hold.from_us, hold.to_us) for hold in self.unreadable if hold.camera_id in (None, camera_id)]
        return merge([*known, *unknown])

    def intervals_by_camera(self) -> dict[str, list[Interval]]:
        """`of` every camera of which anything is held; but for what is `unclear`, which would be of all."""
        out: dict[str, list[Interval]] = {}
        for hold in (*self.readable, *self.unreadable):
            if hold.camera_id is not None:
                out.setdefault(hold.camera_id, []).append((hold.from_us, hold.to_us))
        return {camera_id: merge(windows) for camera_id, windows in out.items()}

    @property
    def of_unknown_camera(self) -> list[UnreadableHold]:
        """Those that may be of any camera: while there are some, nothing at all may be let go."""
        return [hold for hold in self.unreadable if hold.camera_id is None]


def explaining_events(events: Sequence[LoggedEvent], from_us: int, to_us: int) -> list[LoggedEvent]:
    """The events that explain [from_us, to_us), in the order given: those in it, up to an hour after, and the one in force before."""
    changes = status_changes(events)
    before = [word.event for word in effective_changes(changes) if word.effective_us <= from_us][-1:]
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
    """Ingests whose clock was ahead, as only what they said later shows: all that they said is needed to see that again."""
    effects_us = {word.event: word.effective_us for word in reversed(list(changes))}
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
            )  # a clock may have been ahead
            since_us = from_us - HOUR_US * isinstance(event, Connected)  # what is missing is proven from there on
            return any(since_us <= at_us < to_us + HOUR_US for at_us in instants_us)
        case event:
            return from_us <= event.at_us < to_us


def encode_events(events: Iterable[LoggedEvent]) -> tuple[str, ...]:
    """Events as they stand in the index."""
    return tuple(wire.encode_indexed_event(one.event, one.appended_us).decode() for one in events)


def encode_truncations(truncations: Iterable[PartitionTruncated], from_us: int, to_us: int) -> tuple[str, ...]:
    """Those that touch the window, as they stand in the index."""
    return tuple(
        wire.encode_indexed_event(one, 0).decode() for one in truncations if one.from_us < to_us and from_us < one.to_us
    )


def encode_cached_hold(hold: Hold) -> bytes:
    """As it stands in `dc1:holds`: without the copied events, which may be many."""
    return wire.encode_json(replace(hold, events=(), fell=()))
