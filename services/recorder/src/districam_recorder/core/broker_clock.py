"""What time it is by the broker's clock: wall clocks differ, and the log's times are the broker's."""


class BrokerClock:
    """The largest append time seen in this process, carried on by the monotonic clock. Never ahead of the broker's."""

    def __init__(self) -> None:
        self._seen: tuple[int, int] | None = None

    def seen(self, append_us: int, received_us: int) -> None:
        """An append time that the broker gave, and the monotonic time at which we had it."""
        if self._seen is None or append_us > self._seen[0]:
            self._seen = append_us, received_us

    def at(self, monotonic_us: int) -> int | None:
        """The broker's time at that monotonic instant; None while no append time has been seen."""
        if self._seen is None:
            return None
        append_us, received_us = self._seen
        return append_us + max(0, monotonic_us - received_us)
