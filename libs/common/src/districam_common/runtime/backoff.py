"""Exponential backoff with jitter."""

from collections.abc import Callable, Iterator
from random import SystemRandom

_random = SystemRandom().random


def delays(first_s: float, cap_s: float, *, random: Callable[[], float] = _random) -> Iterator[float]:
    """Endless delays in seconds: the step doubles from `first_s` up to `cap_s`; each delay is in its upper half.

    `random` returns numbers in [0, 1). The jitter prevents many clients from retrying at the same instant.
    """
    step = first_s
    while True:
        yield step / 2 + step / 2 * random()
        step = min(cap_s, step * 2)
