"""Translates a listing of the bucket (keys and sizes) into one write to the index; optimised for speed.

Equivalent to `plan.plan_entry` of each object; a property test compares the two.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from districam_common.contract import names
from districam_common.contract.names import DAY_US, HOUR_US, SLOT_US
from districam_common.contract.segment_array import encode_member
from districam_indexer.core.operations import Batch
from districam_indexer.core.plan import MAX_EXACT_SCORE

_DAY_SLOTS = DAY_US // SLOT_US


@dataclass(slots=True)
class ListingResult:
    """The index data of some objects of one camera.

    Attributes:
        scored_members: key of the sorted set → member → score.
        epoch_objects: (epoch, key of the epochs' hash) → an object to read the epoch's parameters from.
        day_slots: key of the day's bitmap → bits.
        latest_us: end of the newest segment that does not end after now; 0 if there is none.
        objects: number of segments.
        skipped_keys: keys that are not a segment's.
    """

    scored_members: dict[str, dict[bytes, int]] = field(default_factory=dict[str, dict[bytes, int]])
    epoch_objects: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    day_slots: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    latest_us: int = 0
    objects: int = 0
    skipped_keys: list[str] = field(default_factory=list[str])


class ListingParser:
    """Parses objects of one camera, a page at a time; caches the Redis keys of each hour."""

    def __init__(self, camera_id: str, *, now_us: int = MAX_EXACT_SCORE) -> None:
        self._camera_id, self._max_end_us = camera_id, now_us + names.MAX_CLOCK_AHEAD_US
        self._hour_keys: dict[int, tuple[str, str]] = {}

    def parse_page(self, page: Iterable[tuple[str, int]]) -> ListingResult:
        """Parses (key, size) of objects."""
        result = ListingResult()
        slots: set[int] = set()
        for key, size in page:
            try:
                self._add(key, size, result, slots)
            except ValueError:
                result.skipped_keys.append(key)
        for slot in slots:
            day, bit = divmod(slot, _DAY_SLOTS)
            result.day_slots.setdefault(names.day_key(self._camera_id, day * DAY_US), set()).add(bit)
        return result

    def _add(self, key: str, size: int, result: ListingResult, slots: set[int]) -> None:
        found = names.parse_segment_object_key(key, size)
        entry = found.entry
        if found.camera_id != self._camera_id or entry.end_us >= MAX_EXACT_SCORE:
            raise ValueError(key)
        start_us, end_us = entry.start_us, entry.end_us
        hour = start_us // HOUR_US
        hour_key, epochs_key = self._hour_keys.get(hour) or self._keys_of_hour(hour)
        result.scored_members.setdefault(hour_key, {})[encode_member(entry)] = start_us
        result.epoch_objects.setdefault((entry.epoch, epochs_key), key)
        slots.update(range(start_us // SLOT_US, max(start_us, end_us - 1) // SLOT_US + 1))
        if end_us <= self._max_end_us:
            result.latest_us = max(result.latest_us, end_us)
        result.objects += 1

    def _keys_of_hour(self, hour: int) -> tuple[str, str]:
        at_us = hour * HOUR_US
        keys = names.segments_key(self._camera_id, at_us), names.epochs_key(self._camera_id, at_us)
        self._hour_keys[hour] = keys
        return keys


def build_batch(camera_id: str, result: ListingResult) -> Batch:
    """A batch with everything but the epochs' parameters."""
    batch = Batch(scored=result.scored_members, bitmaps={key: _bitmap(bits) for key, bits in result.day_slots.items()})
    if result.objects:
        batch.members[names.CAMERA_IDS] = {camera_id}
    if result.latest_us:
        batch.max_scores[names.LATEST] = {camera_id: result.latest_us}
    return batch


def _bitmap(bits: Iterable[int]) -> bytes:
    """The bits as a Redis string, as short as SETBIT makes it; bit 0 is the most significant of byte 0."""
    found = np.fromiter(bits, dtype=np.int64)
    slots = np.zeros((int(found.max()) // 8 + 1) * 8, dtype=np.uint8)
    slots[found] = 1
    return np.packbits(slots).tobytes()
