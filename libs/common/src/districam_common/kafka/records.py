"""Partitions, records, commits, and the errors of reading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from districam_common.errors import DistricamError, Retriable
from districam_common.kafka.marks import Mark


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a log; `append_us` is its append time by the broker's clock, with millisecond resolution.

    With `problem`, it represents `count` offsets without a readable record, and says why; then it has no key, value or
    headers, and `append_us` is 0. `is_lost`: there may have been records. So each offset is in exactly one `Record`.
    """

    topic: str
    partition: int
    offset: int
    append_us: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    count: int = 1
    problem: str = ""
    is_lost: bool = False

    @property
    def next_offset(self) -> int:
        """The offset after it."""
        return self.offset + self.count

    @property
    def key_text(self) -> str:
        """The key for display: at most 200 characters, U+FFFD for bytes that are not UTF-8; empty if there is none."""
        return (self.key or b"").decode(errors="replace")[:200]


def mark_of(record: Record) -> Mark:
    """The mark that identifies the record."""
    name = next((value for header, value in record.headers if header == "ce_id"), None) or b""
    return Mark(record.offset, record.append_us, name.decode(errors="replace"))


def last_mark(records: Sequence[Record]) -> Mark | None:
    """The mark of the last readable record; None if there is none."""
    return next((mark_of(record) for record in reversed(records) if not record.problem), None)


@dataclass(frozen=True, slots=True)
class Committed:
    """The next offset to read, and the metadata text committed with it."""

    offset: int
    metadata: str


class MembershipLost(Retriable):
    """An internal task of the client has ended: this member can never read again; open a new one."""


class OffsetOutOfRange(DistricamError):
    """The log does not contain these positions, or not the records read before them: retention passed, or truncation.

    Raised by each poll until the partitions are sought.
    """

    def __init__(self, partitions: Mapping[Partition, int]) -> None:
        self.partitions = dict(partitions)
        positions = ", ".join(f"{p.topic}-{p.number} at {offset}" for p, offset in partitions.items())
        super().__init__(f"the log does not contain {positions}")
