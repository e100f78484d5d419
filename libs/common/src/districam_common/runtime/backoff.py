"""How long to wait before the next attempt."""

from collections.abc import Callable, Iterator
from random import SystemRandom

_random = SystemRandom().random


def delays(first_s: float, cap_s: float, *, random: Callable[[], float] = _random) -> Iterator[float]:
    """Seconds to wait, without end: doubling from `first_s` up to `cap_s`, each taken at random from its upper half.

    `random` gives numbers in [0, 1). The jitter keeps a hundred clients from knocking at one instant.
    """
    step = first_s
    while True:
        yield step / 2 + step / 2 * random()
        step = min(cap_s, step * 2)
