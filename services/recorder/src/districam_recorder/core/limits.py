"""What to drop when memory is full: the partition whose open data is youngest.

Never the oldest: re-read from its start each time, it would never reach its next cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionMemory:
    """One partition's memory use. `oldest_us`: append time of the first open record; None: nothing open."""

    partition: int
    bytes: int
    oldest_us: int | None
    has_pending: bool


@dataclass(frozen=True, slots=True)
class Read:
    """There is room: feed the record."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A segment is being stored, which will free memory."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Drop this partition's open segments and pause it; they are read again from Kafka."""

    partition: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close this partition's largest open segment early."""

    partition: int


Decision = Read | Wait | Discard | Close


def fits(used: int, size: int, limit: int) -> bool:
    """Whether `size` more bytes fit. If nothing is held, any size does, or it could never be read."""
    return used == 0 or used + size <= limit


def decide(partitions: Sequence[PartitionMemory], requester: int, size: int, limit: int) -> Decision:
    """The next step for partition `requester` to take `size` more bytes, by all partitions' use."""
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
    """Whether paused partitions may be resumed: below half of the limit, so that they do not flap."""
    return used < limit // 2
