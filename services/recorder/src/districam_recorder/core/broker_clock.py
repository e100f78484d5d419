"""What time it is by the brokers' clocks: wall clocks differ, and the log's times are the brokers'."""


class BrokerClock:
    """Of each broker the largest append time seen in this process, carried on by the monotonic clock: never ahead of it.

    Of several brokers the median counts, the lower one of two: one whose clock is ahead must not declare final what is still
    on its way to the others, nor one that is behind keep all pending.
    """

    def __init__(self) -> None:
        self._latest: dict[int, tuple[int, int]] = {}

    def feed(self, append_us: int, received_us: int, broker_id: int) -> None:
        """An append time that the broker gave, and the monotonic time at which we had it."""
        before = self._latest.get(broker_id)
        if before is None or append_us > before[0]:
            self._latest[broker_id] = append_us, received_us

    def broker_time_us(self, monotonic_us: int) -> int | None:
        """The brokers' time at that monotonic instant; None while no append time has been seen."""
        if not self._latest:
            return None
        times_us = sorted(
            append_us + max(0, monotonic_us - received_us) for append_us, received_us in self._latest.values()
        )
        return times_us[(len(times_us) - 1) // 2]
