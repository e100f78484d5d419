"""A listing of the bucket → what it means for the index, as fast as Python goes: keys say all but the size.

The same as `plan.plan_entry` of each object, gathered; a property test holds the two together.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from districam_common.contract import names
from districam_common.contract.index import member
from districam_common.contract.names import DAY_US, HOUR_US, SLOT_US
from districam_indexer.core.operations import Batch
from districam_indexer.core.plan import EXACT

_DAY_SLOTS = DAY_US // SLOT_US


@dataclass(slots=True)
class Read:
    """What some objects of one camera say.

    Attributes:
        hours: key of the sorted set → member → score.
        epochs: (epoch, key of the shapes' hash) → an object that can tell the epoch's shape.
        slots: key of the day's bitmap → bits.
        latest_us: end of the newest segment; 0 for none but such as end after now.
        objects: how many.
        left_out: keys that are no segment's.
    """

    hours: dict[str, dict[bytes, int]] = field(default_factory=dict[str, dict[bytes, int]])
    epochs: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    slots: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    latest_us: int = 0
    objects: int = 0
    left_out: list[str] = field(default_factory=list[str])


class Listing:
    """Objects of one camera, a page at a time. The Redis keys of an hour are made once."""

    def __init__(self, camera_id: str, *, now_us: int = EXACT) -> None:
        self._camera_id, self._until_us = camera_id, now_us + names.AHEAD_US
        self._keys: dict[int, tuple[str, str]] = {}

    def read(self, page: Iterable[tuple[str, int]]) -> Read:
        """(key, size) of objects → what they say."""
        out = Read()
        slots: set[int] = set()
        for key, size in page:
            try:
                self._add(key, size, out, slots)
            except ValueError:
                out.left_out.append(key)
        for slot in slots:
            day, bit = divmod(slot, _DAY_SLOTS)
            out.slots.setdefault(names.day_key(self._camera_id, day * DAY_US), set()).add(bit)
        return out

    def _add(self, key: str, size: int, out: Read, slots: set[int]) -> None:
        found = names.parse_segment_key(key, size)
        entry = found.entry
        if found.camera_id != self._camera_id or entry.end_us >= EXACT:
            raise ValueError(key)
        start_us, end_us = entry.start_us, entry.end_us
        hour = start_us // HOUR_US
        hour_key, epochs_key = self._keys.get(hour) or self._keys_of(hour)
        out.hours.setdefault(hour_key, {})[member(entry)] = start_us
        out.epochs.setdefault((entry.epoch, epochs_key), key)
        slots.update(range(start_us // SLOT_US, max(start_us, end_us - 1) // SLOT_US + 1))
        if end_us <= self._until_us:
            out.latest_us = max(out.latest_us, end_us)
        out.objects += 1

    def _keys_of(self, hour: int) -> tuple[str, str]:
        at_us = hour * HOUR_US
        made = names.segments_key(self._camera_id, at_us), names.epochs_key(self._camera_id, at_us)
        self._keys[hour] = made
        return made


def batch_of(camera_id: str, read: Read) -> Batch:
    """All of it as one write, save the epochs' shapes."""
    batch = Batch(scored=read.hours, bitmaps={key: _bitmap(bits) for key, bits in read.slots.items()})
    if read.objects:
        batch.members[names.CAMERA_IDS] = {camera_id}
    if read.latest_us:
        batch.raised[names.LATEST] = {camera_id: read.latest_us}
    return batch


def _bitmap(bits: Iterable[int]) -> bytes:
    """First bit highest, as long as Redis would make it."""
    found = np.fromiter(bits, dtype=np.int64)
    slots = np.zeros((int(found.max()) // 8 + 1) * 8, dtype=np.uint8)
    slots[found] = 1
    return np.packbits(slots).tobytes()
