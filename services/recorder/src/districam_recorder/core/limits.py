"""What gives way when memory is full: the youngest partitions, never the oldest, whose cut would then never come."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One partition's share. `oldest_us`: append time of the first record of any open segment; None: nothing open."""

    partition: int
    bytes: int
    oldest_us: int | None
    is_waiting: bool


@dataclass(frozen=True, slots=True)
class Read:
    """There is room."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Something is on its way to the store and will make room."""


@dataclass(frozen=True, slots=True)
class Drop:
    """This partition's open segments are dropped and it is paused; Kafka keeps them."""

    partition: int


@dataclass(frozen=True, slots=True)
class Close:
    """This partition's largest open segment is closed early."""

    partition: int


Step = Read | Wait | Drop | Close


def fits(used: int, size: int, limit: int) -> bool:
    """Whether `size` bytes more may be taken; alone, a record of any size may, or it could never be."""
    return used == 0 or used + size <= limit


def step(holdings: Sequence[Holding], wants: int, size: int, limit: int) -> Step:
    """What comes before partition `wants` may take `size` bytes more, all partitions' holdings given."""
    if fits(sum(holding.bytes for holding in holdings), size, limit):
        return Read()
    if any(holding.is_waiting for holding in holdings):
        return Wait()
    ages = sorted((h.oldest_us, h.partition) for h in holdings if h.oldest_us is not None)
    if len(ages) > 1:
        return Drop(ages[-1][1])
    if wants != ages[0][1]:
        return Drop(wants)
    return Close(wants)


def has_room_again(used: int, limit: int) -> bool:
    """Whether paused partitions may go on."""
    return used < limit // 2
