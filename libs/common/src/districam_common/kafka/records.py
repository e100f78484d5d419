"""What the log gives: partitions, records, commits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from districam_common.errors import DistricamError
from districam_common.marks import Mark


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lies in the log; `append_us` is the broker's clock at the append, by the millisecond."""

    topic: str
    partition: int
    offset: int
    append_us: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def mark_of(record: Record) -> Mark:
    """What the record is known by."""
    name = next((value for header, value in record.headers if header == "ce_id"), None) or b""
    return Mark(record.offset, record.append_us, name.decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Committed:
    """The next offset to read, and the text committed with it."""

    offset: int
    metadata: str


class FellOff(DistricamError):
    """The log does not have these positions (any more), or not what was read before them: it lost its front or its tail.

    Raised by each poll until the partitions are sought.
    """

    def __init__(self, partitions: Mapping[Partition, int]) -> None:
        self.partitions = dict(partitions)
        positions = ", ".join(f"{p.topic}-{p.number} at {offset}" for p, offset in partitions.items())
        super().__init__(f"the log does not have {positions}")
