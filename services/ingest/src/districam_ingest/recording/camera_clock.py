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

    def has_stepped(self, offset_us: int) -> bool:
        """Whether there is something to tell: the first offset, and each that is over a second from the last one told."""
        return self._told_us is None or abs(offset_us - self._told_us) > STEP_US

    def step(self, offset_us: int) -> Stepped:
        """What to tell."""
        before_us, self._told_us = self._told_us, offset_us
        return Stepped(offset_us, 0 if before_us is None else offset_us - before_us)
