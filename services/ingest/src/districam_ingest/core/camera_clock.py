"""The camera's own clock beside ours. It may step as it likes: that is told, and nothing else follows from it."""

from dataclasses import dataclass
from typing import Final

STEP_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Stepped:
    """`offset_us`: the camera's clock minus ours, now; `step_us`: by how much that has changed, 0 at first."""

    offset_us: int
    step_us: int


class CameraClock:
    """Watches one epoch's offsets."""

    def __init__(self) -> None:
        self._told_us: int | None = None

    def push(self, offset_us: int) -> Stepped | None:
        """What to tell: the first offset, and each that is over a second from the last one told."""
        before_us, step_us = self._told_us, offset_us - (self._told_us or 0)
        if before_us is not None and abs(step_us) <= STEP_US:
            return None
        self._told_us = offset_us
        return Stepped(offset_us, 0 if before_us is None else step_us)
