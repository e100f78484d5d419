"""A cache with random replacement, for values that are read cyclically."""

from collections.abc import Callable
from functools import wraps
from random import Random
from typing import TypeVar

T = TypeVar("T")


def random_cache(max_entries: int) -> Callable[[Callable[[bytes], T]], Callable[[bytes], T]]:
    """Decorator that caches up to `max_entries` results of a pure function of bytes; evicts a random one when full.

    `functools.lru_cache` evicts the least recently used entry. A loop over all cameras that needs one entry more than it
    holds finds none of them: each call suddenly costs fifty times as much. With random eviction, a loop over 1.5 times
    `max_entries` still finds nearly half.
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
