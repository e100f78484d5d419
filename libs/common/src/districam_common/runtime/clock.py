"""The only reader of time. Cores take `now_us` as an argument; shells take a `Clock`."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for records and monotonic time for waiting; both integer microseconds."""

    def now_us(self) -> int:
        """Microseconds since 1970 UTC, by this host's wall clock."""
        ...

    def monotonic_us(self) -> int:
        """Microseconds of a clock that never steps, and counts the time for which the machine was suspended, if it can."""
        ...


BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
"""Linux's clock that goes on while the machine is suspended, which `time.monotonic` does not (clock_gettime(2))."""


class SystemClock:
    """The host's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return (time.monotonic_ns() if BOOTTIME is None else time.clock_gettime_ns(BOOTTIME)) // 1000
