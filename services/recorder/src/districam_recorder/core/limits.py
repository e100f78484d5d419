"""What gives way when memory is full: the youngest partitions, never the oldest, whose cut would then never come."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionMemory:
    """One partition's share. `oldest_us`: append time of the first record of any open segment; None: nothing open."""

    partition: int
    bytes: int
    oldest_us: int | None
    has_pending: bool


@dataclass(frozen=True, slots=True)
class Read:
    """There is room."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Something is on its way to the store and will make room."""


@dataclass(frozen=True, slots=True)
class Discard:
    """This partition's open segments are dropped and it is paused; Kafka keeps them."""

    partition: int


@dataclass(frozen=True, slots=True)
class Close:
    """This partition's largest open segment is closed early."""

    partition: int


Decision = Read | Wait | Discard | Close


def fits(used: int, size: int, limit: int) -> bool:
    """Whether `size` bytes more may be taken; alone, a record of any size may, or it could never be."""
    return used == 0 or used + size <= limit


def decide(partitions: Sequence[PartitionMemory], requester: int, size: int, limit: int) -> Decision:
    """What comes before partition `requester` may take `size` bytes more, all partitions' holdings given."""
    if fits(sum(holding.bytes for holding in partitions), size, limit):
        return Read()
    if any(holding.has_pending for holding in partitions):
        return Wait()
    oldest_first = sorted((h.oldest_us, h.partition) for h in partitions if h.oldest_us is not None)
    if len(oldest_first) > 1:
        return Discard(oldest_first[-1][1])
    if requester != oldest_first[0][1]:
        return Discard(requester)
    return Close(requester)


def may_resume(used: int, limit: int) -> bool:
    """Whether paused partitions may go on."""
    return used < limit // 2
