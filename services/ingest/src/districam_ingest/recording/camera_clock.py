"""The camera's own clock beside ours. It may step as it likes: that is told, and nothing else follows from it."""

from dataclasses import dataclass
from typing import Final

MIN_REPORTED_STEP_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class OffsetChange:
    """`offset_us`: the camera's clock minus ours, now; `step_us`: by how much that has changed, 0 at first."""

    offset_us: int
    step_us: int


class CameraClock:
    """Watches one epoch's offsets."""

    def __init__(self) -> None:
        self._reported_offset_us: int | None = None

    def needs_report(self, offset_us: int) -> bool:
        """Whether there is something to tell: the first offset, and each that is over a second from the last one told."""
        return self._reported_offset_us is None or abs(offset_us - self._reported_offset_us) > MIN_REPORTED_STEP_US

    def feed(self, offset_us: int) -> OffsetChange:
        """What to tell."""
        previous_us, self._reported_offset_us = self._reported_offset_us, offset_us
        return OffsetChange(offset_us, 0 if previous_us is None else offset_us - previous_us)
