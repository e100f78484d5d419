"""The only module that reads the time. Pure modules take `now_us` as an argument, all others a `Clock`."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for records and monotonic time for waiting; both integer microseconds."""

    def now_us(self) -> int:
        """Microseconds since 1970 UTC, by this host's wall clock."""
        ...

    def monotonic_us(self) -> int:
        """Microseconds of a clock that never steps; includes time in suspend where the system has such a clock."""
        ...


BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
"""Linux's clock that continues while the machine is suspended; `time.monotonic` does not (clock_gettime(2))."""


class SystemClock:
    """The host's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return (time.monotonic_ns() if BOOTTIME is None else time.clock_gettime_ns(BOOTTIME)) // 1000
