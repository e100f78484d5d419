"""A cache for what is looked at all in turn."""

from collections.abc import Callable
from functools import wraps
from random import Random
from typing import TypeVar

T = TypeVar("T")


def random_cache(max_entries: int) -> Callable[[Callable[[bytes], T]], Callable[[bytes], T]]:
    """Keeps the results of a pure function of bytes, `max_entries` of them; when it is full, any of them makes room for a new one.

    `functools.lru_cache` throws out what was used longest ago. Whoever goes over a whole district again and again finds
    nothing at all in it as soon as one more is looked at than it holds: all of a sudden each look costs fifty times as
    much. Thrown out at random, half as many again still find nearly half.
    """

    def decorate(function: Callable[[bytes], T]) -> Callable[[bytes], T]:
        cache: dict[bytes, T] = {}
        keys: list[bytes] = []
        random = Random(max_entries)  # noqa: S311  # nothing secret

        @wraps(function)
        def ask(argument: bytes) -> T:
            try:
                return cache[argument]
            except KeyError:
                pass
            value = function(argument)
            if len(keys) < max_entries:
                keys.append(argument)
            else:
                index = random.randrange(max_entries)
                cache.pop(keys[index], None)
                keys[index] = argument
            cache[argument] = value
            return value

        return ask

    return decorate
