"""How many may be in at once: of all together, and of each."""

from collections import Counter
from typing import Literal

Full = Literal["all", "each"]


class Crowd:
    """Counts who is in. Who is one too many stays outside."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._all = 0
        self._by_who: Counter[str] = Counter()

    def enter(self, who: str | None) -> Full | None:
        """Counts one in, unless there are too many of all or of `who`. None: only all together are bounded.

        Gives what is full; if nothing is, `leave` must follow.
        """
        if self._all >= self._most:
            return "all"
        if who is not None:
            if self._by_who[who] >= self._most_each:
                return "each"
            self._by_who[who] += 1
        self._all += 1
        return None

    def leave(self, who: str | None) -> None:
        """Counts one out that was let in under the same name."""
        self._all -= 1
        if who is not None:
            self._by_who[who] -= 1
            if not self._by_who[who]:
                del self._by_who[who]

    def __len__(self) -> int:
        return self._all
