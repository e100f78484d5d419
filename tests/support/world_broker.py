"""The log of a simulated site, in memory, led by three brokers; their clocks are right, but for a stray one. Beside it the bucket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from districam_common.contract import names
from districam_common.contract.events import Camera, DeadLetter, SegmentStored, StreamEvent
from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_recorder.core.partition_log import InvalidRecord
from districam_recorder.core.progress import Commit

PARTITIONS = 2
"""Of `fragments`, and of `segments`, `streams` and `retention`: one for each of the two cameras."""

BROKERS = (0, 1, 2)
_FIRST = {names.FRAGMENTS: 0, names.STREAMS: 1, names.SEGMENTS: 2, names.RETENTION: 0}
"""Who leads the first partition of a topic; the next leads the next."""


@dataclass(frozen=True, slots=True)
class CorruptFragment:
    """A fragment of which nothing can be read any more."""

    fragment: Fragment


Value = Fragment | CorruptFragment | InvalidRecord | SegmentStored | StreamEvent | Camera | DeadLetter


@dataclass(frozen=True, slots=True)
class LogRecord:
    append_us: int
    value: Value

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
    """Partitions as lists; `start_offsets` says how much of `fragments` retention has taken.

    Attributes:
        all_appended: all that was ever acknowledged.
        truncated_tails: what partitions of `fragments` have lost of their ends, each with the offset that it had.
        leader_generations: how often the leader of each partition of `fragments` has come back.
        leaderless_partitions: partitions of `fragments` whose leader is away.
        keeps_commit_metadata: whether commits' metadata always survives.
    """

    now_us: int = 0
    clock_offsets_us: dict[int, int] = field(default_factory=dict[int, int])
    """By how much a broker's clock is off."""
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
    """Partitions of `fragments` whose disk spoils what is written."""
    commits: list[Commit | None] = field(default_factory=lambda: list[Commit | None]([None] * PARTITIONS))

    def log(self, topic: str, partition: int) -> list[LogRecord]:
        return self.logs.setdefault((topic, partition), [])

    def leader(self, topic: str, partition: int) -> int:
        return (_FIRST.get(topic, 0) + partition) % len(BROKERS)

    def clock_us(self, broker: int) -> int:
        """What its clock shows."""
        return self.now_us + self.clock_offsets_us.get(broker, 0)

    def append(self, topic: str, partition: int, value: Value) -> int:
        """Gives the append time."""
        if topic == names.FRAGMENTS and partition in self.corrupting_partitions and isinstance(value, Fragment):
            value = CorruptFragment(value)
        logged = LogRecord(self.clock_us(self.leader(topic, partition)), value)
        self.log(topic, partition).append(logged)
        self.all_appended.setdefault((topic, partition), []).append(logged)
        return logged.append_us

    def truncate_tail(self, partition: int, lost_us: int) -> list[tuple[int, LogRecord]]:
        """The leader of a partition of `fragments` comes back without what it took last. Gives what is lost."""
        log = self.log(names.FRAGMENTS, partition)
        left = sum(one.append_us <= self.now_us - lost_us for one in log)
        left = max(left, self.start_offsets[partition])
        lost = list(enumerate(log[left:], left))
        self.truncated_tails[partition] += lost
        del log[left:]
        return lost

    def has(self, partition: tuple[str, int], mark: Mark) -> bool:
        """Whether the record is where it was."""
        log = self.log(*partition)
        return mark.offset < len(log) and mark_at(log, mark.offset) == mark

    def apply_retention(self, partition: int, keep_us: int) -> None:
        """Retention: records older than `keep_us` are gone."""
        log, at = self.log(names.FRAGMENTS, partition), self.start_offsets[partition]
        while at < len(log) and log[at].append_us < self.now_us - keep_us:
            at += 1
        self.start_offsets[partition] = at


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object."""

    body: bytes
    metadata: Mapping[str, str]


Bucket = dict[str, StoredObject]
