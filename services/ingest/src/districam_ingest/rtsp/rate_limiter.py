"""How fast one camera is read, so that what comes in crumbs costs no other camera its turn.

Cost is counted in units of about a microsecond: a packet is one, 500 bytes are one, so are a NAL unit and a sixteenth of what
is no video; a message is ten, a picture a hundred. A camera of 4 Mbit/s costs 4,000 a second, one of 100 Mbit/s at 60
pictures a second 40,000. What is over that waits in the socket, and TCP keeps the camera waiting.
"""

from typing import Final

BYTES_PER_UNIT: Final = 500
MESSAGE_COST: Final = 10
PICTURE_COST: Final = 100
NON_VIDEO_BYTES_PER_UNIT: Final = 16
US_PER_UNIT: Final = 25
"""40,000 units a second."""
INITIAL_CREDIT_US: Final = 2_500_000
"""What a connection begins with: cameras send a burst of old pictures."""
MAX_CREDIT_US: Final = 10_000_000
"""Who sent nothing for so long may send as much at once: what a socket has kept while this process stood still."""
MAX_STEP_UNITS: Final = 10_000
"""Units in one go, before everybody else gets a turn."""
MAX_OVERLOAD_US: Final = 60_000_000
RECOVERED_CREDIT_US: Final = 1_000_000
"""A camera that has been over its pace for a minute is left; within it it has not saved as much as this."""


class ReadRateLimiter:
    """One connection's; times are µs of the monotonic clock.

    Attributes:
        ready_us: when it may be read again; in the past while it has something saved.
    """

    def __init__(self, now_us: int) -> None:
        self.ready_us = now_us - INITIAL_CREDIT_US
        self._overloaded_since_us: int | None = None

    def charge(self, units: int, now_us: int) -> None:
        """What was read by now has cost so much."""
        self.ready_us = max(self.ready_us, now_us - MAX_CREDIT_US) + units * US_PER_UNIT
        if self.ready_us <= now_us - RECOVERED_CREDIT_US:
            self._overloaded_since_us = None
        elif self.ready_us > now_us and self._overloaded_since_us is None:
            self._overloaded_since_us = now_us

    def is_overloaded(self, now_us: int) -> bool:
        """Whether it has been too fast for too long."""
        return self._overloaded_since_us is not None and now_us - self._overloaded_since_us >= MAX_OVERLOAD_US
