"""Offset of the camera's clock from ours. Steps are reported as events and have no other effect."""

from dataclasses import dataclass
from typing import Final

MIN_REPORTED_STEP_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class OffsetChange:
    """`offset_us`: camera clock minus ours; `step_us`: its change since the last report, 0 for the first."""

    offset_us: int
    step_us: int


class CameraClock:
    """Decides which offsets of one epoch are reported."""

    def __init__(self) -> None:
        self._reported_offset_us: int | None = None

    def needs_report(self, offset_us: int) -> bool:
        """True for the first offset, and for each that differs by over a second from the last one reported."""
        return self._reported_offset_us is None or abs(offset_us - self._reported_offset_us) > MIN_REPORTED_STEP_US

    def feed(self, offset_us: int) -> OffsetChange:
        """Returns the change to report, and remembers `offset_us` as reported."""
        previous_us, self._reported_offset_us = self._reported_offset_us, offset_us
        return OffsetChange(offset_us, 0 if previous_us is None else offset_us - previous_us)
