"""How much one camera may have told in a minute, over all its connections: events are kept for as long as footage is."""

from typing import Final

MINUTE_US: Final = 60_000_000
EPOCHS_A_MINUTE: Final = 6
EPOCHS_AT_ONCE: Final = 12
"""A camera that is being set up changes its parameters some times within a minute, and loses nothing by it."""
NOTES_A_MINUTE: Final = 6
"""Of profiles, of steps of its clock, and of pictures that were too large: of each kind."""


FRAGMENTS_A_MINUTE: Final = 6_000
FRAGMENTS_AT_ONCE: Final = 1_500
"""Each keyframe begins one. They leave one after the other, with those of the cameras that share the partition: a hundred a second
are what a camera of keyframes alone needs at most."""


class Allowance:
    """So many at once, and from then on so many a minute (the generic cell rate algorithm, ITU-T I.371).

    Times are µs of one monotonic clock.
    """

    def __init__(self, a_minute: int, at_once: int) -> None:
        self._every_us = MINUTE_US // a_minute
        self._ahead_us = (at_once - 1) * self._every_us
        self._due_us = 0  # when all would be there again, less one; it starts in the past

    def wait_us(self, now_us: int) -> int:
        """Until the next one may be taken; 0: now."""
        return max(0, self._due_us - self._ahead_us - now_us)

    def take(self, now_us: int) -> bool:
        """Takes one; False if there is none."""
        if self._due_us - self._ahead_us > now_us:
            return False
        self._due_us = max(self._due_us, now_us) + self._every_us
        return True


class Budget:
    """One camera's allowances.

    Attributes:
        epochs: beginnings of epochs: two events each, and an object of its own in the store.
        profiles, steps: what waits for its turn is told later, summed up.
        fragments: whatever their size.
        oversize: ranges that were shed because a picture was larger than a record may be.
    """

    def __init__(self) -> None:
        self.epochs = Allowance(EPOCHS_A_MINUTE, EPOCHS_AT_ONCE)
        self.profiles = Allowance(NOTES_A_MINUTE, NOTES_A_MINUTE)
        self.steps = Allowance(NOTES_A_MINUTE, NOTES_A_MINUTE)
        self.fragments = Allowance(FRAGMENTS_A_MINUTE, FRAGMENTS_AT_ONCE)
        self.oversize = Allowance(NOTES_A_MINUTE, NOTES_A_MINUTE)
