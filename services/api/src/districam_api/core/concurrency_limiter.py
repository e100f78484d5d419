"""Limits of concurrent use, in total and per key."""

from collections import Counter
from typing import Literal

ExceededLimit = Literal["all", "each"]


class ConcurrencyLimiter:
    """Counts concurrent holders, in total and per key."""

    def __init__(self, max_total: int, max_per_key: int) -> None:
        self._max_total = max_total
        self._max_per_key = max_per_key
        self._total = 0
        self._by_key: Counter[str] = Counter()

    def acquire(self, key: str | None) -> ExceededLimit | None:
        """Counts a holder in, unless a limit is reached; a key of None counts in the total only.

        Returns the limit that is reached; if None, `release` must follow.
        """
        if self._total >= self._max_total:
            return "all"
        if key is not None:
            if self._by_key[key] >= self._max_per_key:
                return "each"
            self._by_key[key] += 1
        self._total += 1
        return None

    def release(self, key: str | None) -> None:
        """Counts a holder out, by the key it was acquired with."""
        self._total -= 1
        if key is not None:
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]

    def __len__(self) -> int:
        return self._total
