"""How much one camera may have told in a minute, over all its connections: events are kept for as long as footage is."""

from typing import Final

MINUTE_US: Final = 60_000_000
EPOCHS_PER_MINUTE: Final = 6
EPOCH_BURST: Final = 12
"""A camera that is being set up changes its parameters some times within a minute, and loses nothing by it."""
EVENTS_PER_MINUTE: Final = 6
"""Of profiles, of steps of its clock, and of pictures that were too large: of each kind."""


FRAGMENTS_PER_MINUTE: Final = 6_000
FRAGMENT_BURST: Final = 1_500
"""Each keyframe begins one. They leave one after the other, with those of the cameras that share the partition: a hundred a second
are what a camera of keyframes alone needs at most."""


class TokenBucket:
    """So many at once, and from then on so many a minute (the generic cell rate algorithm, ITU-T I.371).

    Times are µs of one monotonic clock.
    """

    def __init__(self, per_minute: int, burst: int) -> None:
        self._interval_us = MINUTE_US // per_minute
        self._burst_us = (burst - 1) * self._interval_us
        self._theoretical_arrival_us = 0  # when all would be there again, less one; it starts in the past

    def compute_delay_us(self, now_us: int) -> int:
        """Until the next one may be taken; 0: now."""
        return max(0, self._theoretical_arrival_us - self._burst_us - now_us)

    def try_acquire(self, now_us: int) -> bool:
        """Takes one; False if there is none."""
        if self._theoretical_arrival_us - self._burst_us > now_us:
            return False
        self._theoretical_arrival_us = max(self._theoretical_arrival_us, now_us) + self._interval_us
        return True


class CameraRateLimits:
    """One camera's allowances.

    Attributes:
        epochs: beginnings of epochs: two events each, and an object of its own in the store.
        profiles, steps: what waits for its turn is told later, summed up.
        fragments: whatever their size.
        oversize: ranges that were shed because a picture was larger than a record may be.
    """

    def __init__(self) -> None:
        self.epochs = TokenBucket(EPOCHS_PER_MINUTE, EPOCH_BURST)
        self.profiles = TokenBucket(EVENTS_PER_MINUTE, EVENTS_PER_MINUTE)
        self.clock_steps = TokenBucket(EVENTS_PER_MINUTE, EVENTS_PER_MINUTE)
        self.fragments = TokenBucket(FRAGMENTS_PER_MINUTE, FRAGMENT_BURST)
        self.oversize = TokenBucket(EVENTS_PER_MINUTE, EVENTS_PER_MINUTE)
