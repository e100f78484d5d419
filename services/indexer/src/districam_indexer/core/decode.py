"""Decodes records and plans their operations. A record that cannot be indexed raises `Rejected` only."""

from collections.abc import Iterable, Mapping, Sequence

from districam_common.contract import names, wire
from districam_common.contract.events import Camera, FootageExpired, SegmentStored, StreamEvent
from districam_common.contract.media import Still
from districam_common.ledger.intervals import Interval, merge
from districam_indexer.core.operations import Operation
from districam_indexer.core.plan import plan_camera, plan_event, plan_still, plan_stored

IndexedValue = SegmentStored | StreamEvent | Camera | Still

MIN_UNCERTAIN_AGE_US = names.DAY_US // 2
"""Footage is kept for at least a day: younger than half of that, it has not expired, whatever the clocks."""


def decode(topic: str, key: bytes | None, headers: wire.ReceivedHeaders, value: bytes | None) -> IndexedValue:
    """Decodes a record of an indexed topic.

    Raises:
        WireError: the record is not valid for its topic.
    """
    match topic:
        case names.SEGMENTS:
            return wire.decode_stored(key, headers, value)
        case names.STREAMS:
            return wire.decode_event(key, headers, value)
        case names.RETENTION:
            return wire.decode_expired(key, headers, value)
        case names.CAMERAS:
            return wire.decode_camera(key, headers, value)
        case _:
            return wire.decode_still(key, headers, value)


def plan(value: IndexedValue, append_us: int, expired: Mapping[str, Sequence[Interval]]) -> list[Operation]:
    """The operations for a value; `expired` is camera → merged expired intervals.

    Raises:
        Rejected: the index cannot represent it.
    """
    match value:
        case SegmentStored():
            return plan_stored(value, expired.get(value.camera_id, ()), append_us=append_us)
        case Camera():
            return plan_camera(value, append_us)
        case Still():
            return plan_still(value, append_us)
        case _:
            return plan_event(value, append_us)


def cameras_with_old_footage(values: Iterable[IndexedValue], now_us: int) -> set[str]:
    """Cameras whose expired intervals must be read before these values are planned."""
    return {
        value.camera_id
        for value in values
        if isinstance(value, SegmentStored) and value.end_us < now_us - MIN_UNCERTAIN_AGE_US
    }


def expired_by_camera(values: Iterable[object]) -> dict[str, list[Interval]]:
    """Camera → merged intervals of the `expired` events among `values`."""
    by_camera: dict[str, list[Interval]] = {}
    for value in values:
        if isinstance(value, FootageExpired):
            by_camera.setdefault(value.camera_id, []).append((value.from_us, value.to_us))
    return {camera_id: merge(ranges) for camera_id, ranges in by_camera.items()}
