"""Cuts one epoch into fragments for Kafka and segments for the object store.

Segment boundaries are set here and stamped into the fragments, so a recorder that replays the log from any offset
cuts the same segments.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Final

from districam_common.contract import ticks
from districam_common.contract.media import EndKind
from districam_ingest.units import AccessUnit, UnmuxedFragment

US: Final = 1_000_000
FRAGMENT_MAX_US: Final = 2 * US
FRAGMENT_MAX_BYTES: Final = 1 << 20
"""Fragments of long GOPs are cut at these limits, which bound delay and the loss if ingest is killed."""
SEGMENT_MAX_US: Final = 60 * US
"""Segments of longer GOPs are cut without a keyframe."""


@dataclass(frozen=True, slots=True)
class FragmentLimits:
    """Limits of fragments and segments; `segment_us` is the nominal length of a segment."""

    segment_us: int = 10 * US
    fragment_max_us: int = FRAGMENT_MAX_US
    fragment_max_bytes: int = FRAGMENT_MAX_BYTES
    segment_max_us: int = SEGMENT_MAX_US


class Fragmenter:
    """Cuts one epoch. A fragment is complete when the next access unit, or the epoch's end, is known.

    Segment slots are shifted by a hash of the camera's id, so that cameras do not all upload at the same instant.
    """

    def __init__(self, camera_id: str, limits: FragmentLimits) -> None:
        self._limits = limits
        self._phase_us = zlib.crc32(camera_id.encode()) * US % limits.segment_us
        self._units: list[AccessUnit] = []
        self._size_bytes = 0
        self._next_seq = 0
        self._starts_segment = True
        self._segment_start_us = self._last_keyframe_us = 0

    @property
    def last_seq(self) -> int:
        """The seq of the last complete fragment; −1 before the first."""
        return self._next_seq - 1

    def feed(self, unit: AccessUnit) -> UnmuxedFragment | None:
        """Takes the next access unit; returns the fragment that ends before it, if any."""
        fragment: UnmuxedFragment | None = None
        if not self._units and self._next_seq == 0:
            self._segment_start_us = self._last_keyframe_us = unit.start_us
        elif self._is_full(unit):
            is_segment_start = self._is_segment_start(unit)
            fragment = self._complete_fragment(unit.start_us, unit.dts, "segment" if is_segment_start else None)
            fragment = replace(fragment, lost_after=unit.lost_packets)
            self._starts_segment = is_segment_start
            if is_segment_start:
                self._segment_start_us = unit.start_us
            if unit.is_keyframe:
                self._last_keyframe_us = unit.start_us
        self._units.append(unit)
        self._size_bytes += unit.size
        return fragment

    def close(self, interval_us: int) -> UnmuxedFragment | None:
        """Returns the epoch's last fragment, if any; its last picture lasts `interval_us`."""
        if not self._units:
            return None
        last = self._units[-1]
        return self._complete_fragment(last.start_us + interval_us, last.dts + ticks.from_us(interval_us), "epoch")

    def _is_full(self, unit: AccessUnit) -> bool:
        return (
            unit.is_keyframe
            or unit.start_us - self._units[0].start_us >= self._limits.fragment_max_us
            or self._size_bytes + unit.size > self._limits.fragment_max_bytes
        )

    def _is_segment_start(self, unit: AccessUnit) -> bool:
        is_first_of_slot = unit.is_keyframe and self._slot(unit.start_us) != self._slot(self._last_keyframe_us)
        return is_first_of_slot or unit.start_us - self._segment_start_us >= self._limits.segment_max_us

    def _slot(self, at_us: int) -> int:
        return (at_us - self._phase_us) // self._limits.segment_us

    def _complete_fragment(self, end_us: int, end_dts: int, ends: EndKind | None) -> UnmuxedFragment:
        fragment = UnmuxedFragment(
            seq=self._next_seq,
            units=tuple(self._units),
            duration_us=end_us - self._units[0].start_us,
            last_duration_ticks=end_dts - self._units[-1].dts,
            starts_segment=self._starts_segment,
            ends=ends,
        )
        self._next_seq, self._units, self._size_bytes = self._next_seq + 1, [], 0
        return fragment
