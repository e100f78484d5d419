"""Rate limits of one camera over all its connections: events are kept as long as footage, so their number is bounded."""

from typing import Final

MINUTE_US: Final = 60_000_000
EPOCHS_PER_MINUTE: Final = 6
EPOCH_BURST: Final = 12
"""A camera that is being configured changes its parameters several times within a minute; that must lose no footage."""
EVENTS_PER_MINUTE: Final = 6
"""Per kind: profiles, clock steps, ranges of oversize pictures."""
FRAGMENTS_PER_MINUTE: Final = 6_000
FRAGMENT_BURST: Final = 1_500
"""Each keyframe starts a fragment, and the cameras of a partition share one sender that sends one record at a time.
100 per second is the most that a camera of keyframes alone needs."""


class TokenBucket:
    """Allows `burst` at once and `per_minute` on average (generic cell rate algorithm, ITU-T I.371).

    Times are µs of one monotonic clock.
    """

    def __init__(self, per_minute: int, burst: int) -> None:
        self._interval_us = MINUTE_US // per_minute
        self._burst_us = (burst - 1) * self._interval_us
        self._theoretical_arrival_us = 0  # TAT of the algorithm; starts in the past: full burst

    def compute_delay_us(self, now_us: int) -> int:
        """Time until `try_acquire` succeeds; 0: now."""
        return max(0, self._theoretical_arrival_us - self._burst_us - now_us)

    def try_acquire(self, now_us: int) -> bool:
        """Takes a token; False if none is left."""
        if self._theoretical_arrival_us - self._burst_us > now_us:
            return False
        self._theoretical_arrival_us = max(self._theoretical_arrival_us, now_us) + self._interval_us
        return True


class CameraRateLimits:
    """One camera's token buckets.

    Attributes:
        epochs: starts of epochs; each costs two events and at least one object in the store.
        profiles, clock_steps: a report that exceeds the limit is merged into the next one.
        fragments: fragments of any size.
        oversize: ranges shed because a picture exceeds the maximum record size.
    """

    def __init__(self) -> None:
        self.epochs = TokenBucket(EPOCHS_PER_MINUTE, EPOCH_BURST)
        self.profiles = TokenBucket(EVENTS_PER_MINUTE, EVENTS_PER_MINUTE)
        self.clock_steps = TokenBucket(EVENTS_PER_MINUTE, EVENTS_PER_MINUTE)
        self.fragments = TokenBucket(FRAGMENTS_PER_MINUTE, FRAGMENT_BURST)
        self.oversize = TokenBucket(EVENTS_PER_MINUTE, EVENTS_PER_MINUTE)
