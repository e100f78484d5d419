"""What the log gives: partitions, records, commits."""

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
    """A record as it lies in the log; `append_us` is the broker's clock at the append, by the millisecond.

    If `problem` is set, it stands for `count` offsets at which no record can be read, and says why; then it has no key, no
    value, no headers, and `append_us` is 0. `is_lost`: records may have lain there. So each offset is in one `Record`.
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
        """The offset behind it."""
        return self.offset + self.count

    @property
    def key_text(self) -> str:
        """The key for people: 200 characters at most, with U+FFFD for what is not UTF-8; empty if there is none."""
        return (self.key or b"").decode(errors="replace")[:200]


def mark_of(record: Record) -> Mark:
    """What the record is known by."""
    name = next((value for header, value in record.headers if header == "ce_id"), None) or b""
    return Mark(record.offset, record.append_us, name.decode(errors="replace"))


def last_mark(records: Sequence[Record]) -> Mark | None:
    """Of the last of them that can be read; what cannot be is known by nothing."""
    return next((mark_of(record) for record in reversed(records) if not record.problem), None)


@dataclass(frozen=True, slots=True)
class Committed:
    """The next offset to read, and the text committed with it."""

    offset: int
    metadata: str


class MembershipLost(Retriable):
    """The client has given up inside: this member will never read again, another one may."""


class OffsetOutOfRange(DistricamError):
    """The log does not have these positions (any more), or not what was read before them: it lost its front or its tail.

    Raised by each poll until the partitions are sought.
    """

    def __init__(self, partitions: Mapping[Partition, int]) -> None:
        self.partitions = dict(partitions)
        positions = ", ".join(f"{p.topic}-{p.number} at {offset}" for p, offset in partitions.items())
        super().__init__(f"the log does not have {positions}")
