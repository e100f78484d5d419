"""How long a partition's leader has answered without a break. Without it, ingests queue fragments."""


class BrokerLiveness:
    """Unbroken contact: answers at most `max_silence_us` apart. All times are monotonic."""

    def __init__(self, max_silence_us: int) -> None:
        self._max_silence_us = max_silence_us
        self._responding_since_us: int | None = None
        self._last_response_us = 0

    def report_response(self, at_us: int) -> None:
        """The leader answered at `at_us`."""
        if self._responding_since_us is None or at_us - self._last_response_us > self._max_silence_us:
            self._responding_since_us = at_us
        self._last_response_us = max(self._last_response_us, at_us)

    def responding_for_us(self) -> int:
        """Duration of the unbroken contact up to the last answer; 0 before the first."""
        return 0 if self._responding_since_us is None else self._last_response_us - self._responding_since_us
