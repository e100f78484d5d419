"""How many may be in at once: of all together, and of each."""

from collections import Counter
from typing import Literal

ExceededLimit = Literal["all", "each"]


class ConcurrencyLimiter:
    """Counts who is in. Who is one too many stays outside."""

    def __init__(self, max_total: int, max_per_key: int) -> None:
        self._max_total = max_total
        self._max_per_key = max_per_key
        self._total = 0
        self._by_key: Counter[str] = Counter()

    def acquire(self, key: str | None) -> ExceededLimit | None:
        """Counts one in, unless there are too many of all or of `key`. None: only all together are bounded.

        Gives what is full; if nothing is, `leave` must follow.
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
        """Counts one out that was let in under the same name."""
        self._total -= 1
        if key is not None:
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]

    def __len__(self) -> int:
        return self._total
