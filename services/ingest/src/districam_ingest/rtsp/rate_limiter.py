"""Limits how fast one camera is read, so that floods of tiny packets do not starve other cameras.

Cost is counted in units of about 1 µs of CPU: 1 per packet, per NAL unit, per 500 bytes, and per 16 bytes of
other data than video; 10 per RTSP message, 100 per picture. A camera of 4 Mbit/s costs 4,000 units/s, one of
100 Mbit/s at 60 fps 40,000, which is the limit. What exceeds it waits in the socket, so that TCP slows the
camera down.
"""

from typing import Final

BYTES_PER_UNIT: Final = 500
MESSAGE_COST: Final = 10
PICTURE_COST: Final = 100
NON_VIDEO_BYTES_PER_UNIT: Final = 16
US_PER_UNIT: Final = 25
"""The limit: 40,000 units per second."""
INITIAL_CREDIT_US: Final = 2_500_000
"""Credit of a new connection: cameras begin with a burst of old pictures."""
MAX_CREDIT_US: Final = 10_000_000
"""The most credit that an idle connection saves: enough for what a socket buffers during a stall of ours."""
MAX_STEP_UNITS: Final = 10_000
"""Units processed at once before other cameras get a turn."""
MAX_OVERLOAD_US: Final = 60_000_000
RECOVERED_CREDIT_US: Final = 1_000_000
"""A camera that exceeds the limit for `MAX_OVERLOAD_US` without saving this much credit is disconnected."""


class ReadRateLimiter:
    """Token bucket of one connection; times are µs of the monotonic clock.

    Attributes:
        ready_us: when the connection may be read again; in the past by the saved credit.
    """

    def __init__(self, now_us: int) -> None:
        self.ready_us = now_us - INITIAL_CREDIT_US
        self._overloaded_since_us: int | None = None

    def charge(self, units: int, now_us: int) -> None:
        """Charges `units` for what was read until `now_us`."""
        self.ready_us = max(self.ready_us, now_us - MAX_CREDIT_US) + units * US_PER_UNIT
        if self.ready_us <= now_us - RECOVERED_CREDIT_US:
            self._overloaded_since_us = None
        elif self.ready_us > now_us and self._overloaded_since_us is None:
            self._overloaded_since_us = now_us

    def is_overloaded(self, now_us: int) -> bool:
        """Whether the limit has been exceeded for `MAX_OVERLOAD_US`."""
        return self._overloaded_since_us is not None and now_us - self._overloaded_since_us >= MAX_OVERLOAD_US
