"""What time it is by the brokers' clocks: wall clocks differ, and the log's times are the brokers'."""


class BrokerClock:
    """Of each broker the largest append time seen in this process, carried on by the monotonic clock: never ahead of it.

    Of several brokers the median counts, the lower one of two: one whose clock is ahead must not declare final what is still
    on its way to the others, nor one that is behind keep all pending.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int]] = {}

    def seen(self, append_us: int, received_us: int, broker: int) -> None:
        """An append time that the broker gave, and the monotonic time at which we had it."""
        before = self._seen.get(broker)
        if before is None or append_us > before[0]:
            self._seen[broker] = append_us, received_us

    def at(self, monotonic_us: int) -> int | None:
        """The brokers' time at that monotonic instant; None while no append time has been seen."""
        if not self._seen:
            return None
        times = sorted(
            append_us + max(0, monotonic_us - received_us) for append_us, received_us in self._seen.values()
        )
        return times[(len(times) - 1) // 2]
