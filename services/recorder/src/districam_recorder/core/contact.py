"""How long a partition's leader has answered without a break. Ingests may have queued as long as it did not."""


class Contact:
    """Unbroken contact: answers no further apart than `break_us`. All times are monotonic."""

    def __init__(self, break_us: int) -> None:
        self._break_us = break_us
        self._since_us: int | None = None
        self._last_us = 0

    def heard(self, at_us: int) -> None:
        """The leader answered at that instant."""
        if self._since_us is None or at_us - self._last_us > self._break_us:
            self._since_us = at_us
        self._last_us = max(self._last_us, at_us)

    def lasts_us(self) -> int:
        """How long it has lasted, at the last answer."""
        return 0 if self._since_us is None else self._last_us - self._since_us
