"""Estimates the brokers' wall clock, which gives the log's append times and may differ from this host's."""


class BrokerClock:
    """Per broker, the largest append time plus the monotonic time since: never ahead of the broker's clock.

    With several brokers, the lower median: a broker whose clock is ahead must not declare records final that
    are still in flight to the others, nor may one that is behind keep everything pending.
    """

    def __init__(self) -> None:
        self._latest: dict[int, tuple[int, int]] = {}

    def feed(self, append_us: int, received_us: int, broker_id: int) -> None:
        """Takes an append time of that broker and the monotonic time at which it was received."""
        before = self._latest.get(broker_id)
        if before is None or append_us > before[0]:
            self._latest[broker_id] = append_us, received_us

    def broker_time_us(self, monotonic_us: int) -> int | None:
        """The brokers' time at `monotonic_us`; None before the first append time."""
        if not self._latest:
            return None
        times_us = sorted(
            append_us + max(0, monotonic_us - received_us) for append_us, received_us in self._latest.values()
        )
        return times_us[(len(times_us) - 1) // 2]
