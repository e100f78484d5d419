"""Translates records into operations. Any permutation or repetition of records gives the same index."""

import json
from collections.abc import Sequence

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, FootageExpired, PartitionTruncated, SegmentStored, StreamEvent
from districam_common.contract.media import CAMERA_ID, Still
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.contract.segment_array import IndexEntry
from districam_common.errors import Rejected
from districam_common.index import indexed_camera
from districam_common.ledger.intervals import Interval
from districam_indexer.core.operations import (
    AddMember,
    AddScored,
    Operation,
    RaiseScore,
    ReplaceStill,
    SetBits,
    SetField,
)

MAX_EXACT_SCORE = 1 << 53
"""Redis scores are doubles, which are exact for integers up to this."""


def plan_stored(
    stored: SegmentStored, expired: Sequence[Interval] = (), *, append_us: int = MAX_EXACT_SCORE
) -> list[Operation]:
    """Operations for an announced segment; none if it is inside an expired interval: its object is deleted.

    `append_us` is the announcement's append time.

    Raises:
        Rejected: the index cannot represent it, or readers would derive another key from its fields.
    """
    entry = names.entry_of(stored)
    if is_covered((entry.start_us, entry.end_us), expired):
        return []
    operations = plan_entry(stored.camera_id, entry, now_us=append_us)
    if stored.key != names.segment_object_key(stored.camera_id, entry):
        raise Rejected(f"the key does not match the fields: {stored.key[:200]!r}")
    parameters = plan_epoch_parameters(
        stored.camera_id, entry, codecs=stored.codecs, width=stored.width, height=stored.height
    )
    return [*operations, parameters]


def plan_entry(camera_id: str, entry: IndexEntry, *, now_us: int = MAX_EXACT_SCORE) -> list[Operation]:
    """Operations for a segment as described by its object's key and size: all but the epoch's parameters.

    A segment that ends after `now_us` was recorded with a clock that was ahead. It does not count as the
    camera's latest, or none recorded until then would.

    Raises:
        Rejected: the index cannot represent it.
    """
    _check_camera(camera_id)
    _check_instants(entry.start_us, entry.end_us)
    if entry.first_seq > entry.last_seq:
        raise Rejected(f"last_seq {entry.last_seq} is before first_seq {entry.first_seq}")
    try:
        member = segment_array.encode_member(entry)
        slots = names.slots(entry.start_us, entry.end_us)
        return [
            AddMember(names.CAMERA_IDS, camera_id),
            AddScored(names.segments_key(camera_id, entry.start_us), member, entry.start_us),
            *(
                [RaiseScore(names.LATEST, camera_id, entry.end_us)]
                if entry.end_us <= now_us + names.MAX_CLOCK_AHEAD_US
                else []
            ),
            *(SetBits(names.day_key(camera_id, day_us), bits) for day_us, bits in slots),
        ]
    except (ValueError, OverflowError) as error:
        raise Rejected(f"the index cannot represent this segment: {error}") from error


def plan_epoch_parameters(camera_id: str, entry: IndexEntry, *, codecs: str, width: int, height: int) -> SetField:
    """The parameters that all segments of an epoch share, stored under the day of the segment's start."""
    return epoch_parameters_field(
        names.epochs_key(camera_id, entry.start_us), entry.epoch, codecs=codecs, width=width, height=height
    )


def epoch_parameters_field(key: str, epoch: str, *, codecs: str, width: int, height: int) -> SetField:
    """As `plan_epoch_parameters`, for a known key of the hash."""
    parameters = json.dumps({"codecs": codecs, "width": width, "height": height}, separators=(",", ":"))
    return SetField(key, epoch, parameters.encode())


def plan_event(event: StreamEvent, append_us: int | None) -> list[Operation]:
    """Operations for a stream event; `append_us` is its append time, None if unknown.

    Raises:
        Rejected: the index cannot represent it, or a truncation ends in the future.
    """
    member = wire.encode_indexed_event(event, append_us)
    if isinstance(event, PartitionTruncated):
        _check_instants(event.from_us, event.to_us)
        if append_us is not None and event.to_us > append_us + HOUR_US:
            raise Rejected(f"to_us {event.to_us} is later than the record: it would explain future gaps")
        return [AddScored(names.truncations_key(event.partition), member, event.from_us)]
    _check_camera(event.camera_id)
    _check_instants(event.at_us, event.at_us)
    return [
        AddMember(names.CAMERA_IDS, event.camera_id),
        AddScored(names.events_key(event.camera_id), member, event.at_us),
        *_plan_expired(event),
    ]


def _plan_expired(event: StreamEvent) -> list[Operation]:
    if not isinstance(event, FootageExpired) or event.from_us >= event.to_us:
        return []
    _check_instants(event.from_us, event.to_us)
    member = names.format_interval(event.from_us, event.to_us).encode()
    return [AddScored(names.expired_key(event.camera_id), member, event.to_us)]


def plan_camera(camera: Camera, append_us: int) -> list[Operation]:
    """Operations for a revision of a camera's record; all are kept. `append_us` is for the ledger.

    Revisions are ordered by `updated_us`, but by `append_us` if that is more than a day earlier: a revision
    from a clock far ahead would stay the newest.

    Raises:
        Rejected: the index cannot represent it.
    """
    _check_camera(camera.camera_id)
    _check_instants(camera.updated_us, camera.updated_us)
    is_ahead = camera.updated_us > append_us + DAY_US
    score = append_us if is_ahead else camera.updated_us
    return [
        AddMember(names.CAMERA_IDS, camera.camera_id),
        AddScored(names.camera_key(camera.camera_id), indexed_camera.encode_indexed_camera(camera, append_us), score),
    ]


def plan_still(still: Still, append_us: int = MAX_EXACT_SCORE) -> list[Operation]:
    """Operations for a still, of which only the newest is kept.

    Raises:
        Rejected: the index cannot represent it, or it is later than its record and would block others.
    """
    _check_camera(still.camera_id)
    _check_instants(still.at_us, still.at_us)
    if still.at_us > append_us + names.MAX_CLOCK_AHEAD_US:
        raise Rejected(f"the still is of {names.format_rfc3339(still.at_us)}, later than its record")
    key = names.still_key(still.camera_id)
    return [ReplaceStill(key, still.at_us, still.width, still.height, still.jpeg)]


def is_covered(interval: Interval, ranges: Sequence[Interval]) -> bool:
    """Whether one of `ranges` (merged, see `intervals`) contains all of `interval`."""
    return any(start <= interval[0] and interval[1] <= end for start, end in ranges)


def _check_camera(camera_id: str) -> None:
    if CAMERA_ID.fullmatch(camera_id) is None:
        raise Rejected(f"not a camera id: {camera_id[:80]!r}")


def _check_instants(start_us: int, end_us: int) -> None:
    if not 0 <= start_us <= end_us < MAX_EXACT_SCORE:
        raise Rejected(f"not a time between 1970 and 2255: [{start_us}, {end_us})"[:200])
