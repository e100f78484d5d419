"""Where to cut one epoch: into fragments for Kafka and into segments for the store.

A cut is stamped here and nowhere else, so that a recorder that replays the log from any offset meets the same cuts.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Final

from districam_common.contract import ticks
from districam_common.contract.media import Ends
from districam_ingest.units import AccessUnit, Cut

US: Final = 1_000_000
FRAGMENT_MAX_US: Final = 2 * US
FRAGMENT_MAX_BYTES: Final = 1 << 20
SEGMENT_MAX_US: Final = 60 * US


@dataclass(frozen=True, slots=True)
class Cuts:
    """Limits of fragments and segments; segments of different cameras start at different instants."""

    segment_us: int = 10 * US
    fragment_max_us: int = FRAGMENT_MAX_US
    fragment_max_bytes: int = FRAGMENT_MAX_BYTES
    segment_max_us: int = SEGMENT_MAX_US


class Fragmenter:
    """Cuts one epoch. A fragment leaves when the next access unit, or the epoch's end, is known."""

    def __init__(self, camera_id: str, cuts: Cuts) -> None:
        self._cuts = cuts
        self._phase_us = zlib.crc32(camera_id.encode()) * US % cuts.segment_us
        self._units: list[AccessUnit] = []
        self._size = 0
        self._seq = 0
        self._starts_segment = True
        self._segment_start_us = self._keyframe_us = 0

    @property
    def last_seq(self) -> int:
        """The number of the last fragment that left; −1 before the first."""
        return self._seq - 1

    def push(self, unit: AccessUnit) -> Cut | None:
        """Takes the next access unit; gives the fragment that ends before it, if one does."""
        cut: Cut | None = None
        if not self._units and self._seq == 0:
            self._segment_start_us = self._keyframe_us = unit.start_us
        elif self._is_full(unit):
            starts = self._starts_a_segment(unit)
            cut = self._cut(unit.start_us, unit.dts, "segment" if starts else None)
            cut = replace(cut, lost_behind=unit.lost_packets)
            self._starts_segment = starts
            if starts:
                self._segment_start_us = unit.start_us
            if unit.is_keyframe:
                self._keyframe_us = unit.start_us
        self._units.append(unit)
        self._size += unit.size
        return cut

    def end(self, interval_us: int) -> Cut | None:
        """The epoch's last fragment; its last picture lasts one nominal interval."""
        if not self._units:
            return None
        last = self._units[-1]
        return self._cut(last.start_us + interval_us, last.dts + ticks.from_us(interval_us), "epoch")

    def _is_full(self, unit: AccessUnit) -> bool:
        return (
            unit.is_keyframe
            or unit.start_us - self._units[0].start_us >= self._cuts.fragment_max_us
            or self._size + unit.size > self._cuts.fragment_max_bytes
        )

    def _starts_a_segment(self, unit: AccessUnit) -> bool:
        is_first_of_slot = unit.is_keyframe and self._slot(unit.start_us) != self._slot(self._keyframe_us)
        return is_first_of_slot or unit.start_us - self._segment_start_us >= self._cuts.segment_max_us

    def _slot(self, at_us: int) -> int:
        return (at_us - self._phase_us) // self._cuts.segment_us

    def _cut(self, end_us: int, end_dts: int, ends: Ends | None) -> Cut:
        cut = Cut(
            seq=self._seq,
            units=tuple(self._units),
            duration_us=end_us - self._units[0].start_us,
            last_ticks=end_dts - self._units[-1].dts,
            starts_segment=self._starts_segment,
            ends=ends,
        )
        self._seq, self._units, self._size = self._seq + 1, [], 0
        return cut
