"""The log of a simulated site, in memory, led by three brokers, of which one may have a wrong clock; and the bucket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from districam_common.contract import names
from districam_common.contract.events import Camera, DeadLetter, SegmentStored, StreamEvent
from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_recorder.core.partition_log import InvalidRecord
from districam_recorder.core.progress import Commit

PARTITIONS = 2
"""Partitions of `fragments`, `segments`, `streams` and `retention`: one per camera."""

BROKERS = (0, 1, 2)
_FIRST = {names.FRAGMENTS: 0, names.STREAMS: 1, names.SEGMENTS: 2, names.RETENTION: 0}
"""Leader of the first partition of a topic; the next broker leads the next partition."""


@dataclass(frozen=True, slots=True)
class CorruptFragment:
    """A fragment whose record is unreadable."""

    fragment: Fragment


Value = Fragment | CorruptFragment | InvalidRecord | SegmentStored | StreamEvent | Camera | DeadLetter


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record; `append_us` is by its leader's clock, `appended_us` the true time."""

    append_us: int
    value: Value
    appended_us: int

    @property
    def id(self) -> str:
        """Its `ce_id`."""
        match self.value:
            case Fragment(info=info):
                return f"{info.epoch}/{info.seq}"
            case SegmentStored(key=key):
                return key
            case _:
                return ""


def mark_at(log: Sequence[LogRecord], offset: int) -> Mark:
    return Mark(offset, log[offset].append_us, log[offset].id)


@dataclass
class Broker:
    """Partitions as lists.

    Attributes:
        all_appended: all records that were ever acknowledged.
        truncated_tails: (offset, record) that each partition of `fragments` has lost from its end.
        leader_generations: how often the leader of each partition of `fragments` has returned.
        leaderless_partitions: partitions of `fragments` without a leader.
        keeps_commit_metadata: whether the metadata of commits always survives.
        start_offsets: how much of each partition of `fragments` retention has deleted.
    """

    now_us: int = 0
    clock_offsets_us: dict[int, int] = field(default_factory=dict[int, int])
    """Error of each broker's clock."""
    logs: dict[tuple[str, int], list[LogRecord]] = field(default_factory=dict[tuple[str, int], list[LogRecord]])
    all_appended: dict[tuple[str, int], list[LogRecord]] = field(default_factory=dict[tuple[str, int], list[LogRecord]])
    truncated_tails: list[list[tuple[int, LogRecord]]] = field(
        default_factory=lambda: [list[tuple[int, LogRecord]]() for _ in range(PARTITIONS)]
    )
    leader_generations: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    leaderless_partitions: set[int] = field(default_factory=set[int])
    keeps_commit_metadata: bool = False
    start_offsets: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    corrupting_partitions: set[int] = field(default_factory=set[int])
    """Partitions of `fragments` whose disk corrupts what is written."""
    commits: list[Commit | None] = field(default_factory=lambda: list[Commit | None]([None] * PARTITIONS))

    def log(self, topic: str, partition: int) -> list[LogRecord]:
        return self.logs.setdefault((topic, partition), [])

    def leader(self, topic: str, partition: int) -> int:
        return (_FIRST.get(topic, 0) + partition) % len(BROKERS)

    def clock_us(self, broker: int) -> int:
        """The time that the broker's clock shows."""
        return self.now_us + self.clock_offsets_us.get(broker, 0)

    def append(self, topic: str, partition: int, value: Value) -> int:
        """Appends a record and returns its append time."""
        if topic == names.FRAGMENTS and partition in self.corrupting_partitions and isinstance(value, Fragment):
            value = CorruptFragment(value)
        logged = LogRecord(self.clock_us(self.leader(topic, partition)), value, self.now_us)
        self.log(topic, partition).append(logged)
        self.all_appended.setdefault((topic, partition), []).append(logged)
        return logged.append_us

    def truncate_tail(self, partition: int, lost_us: int) -> list[tuple[int, LogRecord]]:
        """Removes the last `lost_us` of a partition of `fragments`, as a leader that lost its tail. Returns what is lost."""
        log = self.log(names.FRAGMENTS, partition)
        kept = sum(one.append_us <= self.now_us - lost_us for one in log)
        kept = max(kept, self.start_offsets[partition])
        lost = list(enumerate(log[kept:], kept))
        self.truncated_tails[partition] += lost
        del log[kept:]
        return lost

    def has(self, partition: tuple[str, int], mark: Mark) -> bool:
        """True if the marked record is still at its offset."""
        log = self.log(*partition)
        return mark.offset < len(log) and mark_at(log, mark.offset) == mark

    def is_unreadable(self, partition: int, offset: int) -> bool:
        """True if the record of `fragments` at that offset cannot be read, so that no mark can be compared with it."""
        log = self.log(names.FRAGMENTS, partition)
        return offset < len(log) and isinstance(log[offset].value, CorruptFragment)

    def apply_retention(self, partition: int, keep_us: int) -> None:
        """Deletes records of `fragments` that are older than `keep_us`."""
        log, at = self.log(names.FRAGMENTS, partition), self.start_offsets[partition]
        while at < len(log) and log[at].append_us < self.now_us - keep_us:
            at += 1
        self.start_offsets[partition] = at


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in the bucket."""

    body: bytes
    metadata: Mapping[str, str]


Bucket = dict[str, StoredObject]
