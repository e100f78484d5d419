"""How long a partition's leader has answered without a break. Ingests may have queued as long as it did not."""


class BrokerLiveness:
    """Unbroken contact: answers no further apart than `break_us`. All times are monotonic."""

    def __init__(self, max_silence_us: int) -> None:
        self._max_silence_us = max_silence_us
        self._responding_since_us: int | None = None
        self._last_response_us = 0

    def report_response(self, at_us: int) -> None:
        """The leader answered at that instant."""
        if self._responding_since_us is None or at_us - self._last_response_us > self._max_silence_us:
            self._responding_since_us = at_us
        self._last_response_us = max(self._last_response_us, at_us)

    def responding_for_us(self) -> int:
        """How long it has lasted, at the last answer."""
        return 0 if self._responding_since_us is None else self._last_response_us - self._responding_since_us
