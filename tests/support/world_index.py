"""A simulated indexer: the real plans and progress, applied to dictionaries in place of Redis; and reads from them."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from random import Random

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import DeadLetter, PartitionTruncated, StreamEvent
from districam_common.contract.media import Fragment
from districam_common.contract.segment_array import SegmentArray
from districam_common.index import indexed_camera
from districam_common.kafka.marks import Mark, add_mark
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.expectation import Revision
from districam_indexer.core.decode import IndexedValue, plan
from districam_indexer.core.operations import Batch, to_batch
from districam_indexer.core.progress import (
    TopicPartition,
    advanced_watermarks,
    parse_commit_watermark_us,
    resume_offset,
)
from districam_recorder.core.partition_log import InvalidRecord
from support.world_broker import PARTITIONS, Broker, CorruptFragment, LogRecord, mark_at

TOPIC_PARTITIONS: list[TopicPartition] = [
    (topic, n) for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION) for n in range(PARTITIONS)
]
CAMERAS_PARTITION: TopicPartition = (names.CAMERAS, 0)


@dataclass
class Index:
    """The state that the operations produce. Equal indexes give equal answers."""

    sorted_sets: dict[str, dict[bytes, int]] = field(default_factory=dict[str, dict[bytes, int]])
    max_scores: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    hashes: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    bitmaps: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    sets: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def write(self, records: Iterable[LogRecord]) -> None:
        """Writes the records in one batch."""
        self.apply(to_batch(op for one in records for op in plan(_indexed(one), one.append_us, {})))

    def apply(self, batch: Batch) -> None:
        for key, scored in batch.scored.items():
            self.sorted_sets.setdefault(key, {}).update(scored)
        for key, raised in batch.max_scores.items():
            best = self.max_scores.setdefault(key, {})
            best.update({name: max(score, best.get(name, score)) for name, score in raised.items()})
        for key, fields in batch.fields.items():
            self.hashes.setdefault(key, {}).update(fields)
        for key, bits in batch.bits.items():
            self.bitmaps.setdefault(key, set()).update(bits)
        for key, members in batch.members.items():
            self.sets.setdefault(key, set()).update(members)

    # ---- reading

    def segments(self, camera_id: str) -> SegmentArray:
        prefix = names.segments_key(camera_id, 0)[:-10]
        rows = [row for key, hour in self.sorted_sets.items() if key.startswith(prefix) for row in hour.items()]
        return segment_array.decode_members([member for member, _ in rows], [score for _, score in rows])

    def events(self, camera_id: str) -> list[LoggedEvent]:
        found = map(_parsed, self.sorted_sets.get(names.events_key(camera_id), ()))
        return [LoggedEvent(event, at_us) for event, at_us in found if not isinstance(event, PartitionTruncated)]

    def log_truncations(self, partition: int) -> list[PartitionTruncated]:
        found = map(_parsed, self.sorted_sets.get(names.truncations_key(partition), ()))
        return [event for event, _ in found if isinstance(event, PartitionTruncated)]

    def revisions(self, camera_id: str) -> list[Revision]:
        return [_revision(member) for member in self.sorted_sets.get(names.camera_key(camera_id), ())]


def _indexed(logged: LogRecord) -> IndexedValue:
    assert not isinstance(logged.value, Fragment | CorruptFragment | InvalidRecord | DeadLetter)
    return logged.value


@cache
def _parsed(member: bytes) -> tuple[StreamEvent, int | None]:
    return wire.decode_indexed_event(member)


@cache
def _revision(member: bytes) -> Revision:
    return Revision(*indexed_camera.decode_indexed_camera(member))


class Indexer:
    """Follows the topics. Its index and offsets persist, as in Redis."""

    def __init__(self, broker: Broker, rng: Random) -> None:
        self._broker, self._rng = broker, rng
        self.index = Index()
        self.applied_offsets: dict[TopicPartition, int] = {}
        self.watermarks_us: dict[int, int] = {}
        self._read = 0  # position in `cameras`; those in the other topics are in Redis only
        self.read_marks: dict[TopicPartition, tuple[Mark, ...]] = {}
        self.save_snapshot()

    def save_snapshot(self) -> None:
        """Saves the state of Redis to which `restore_snapshot` returns."""
        self._snapshot = deepcopy((self.index, self.applied_offsets, self.watermarks_us, self.read_marks))

    def restore_snapshot(self) -> None:
        self.index, self.applied_offsets, self.watermarks_us, self.read_marks = deepcopy(self._snapshot)

    def run_tick(self, *, reads_topics: bool) -> None:
        """Runs one tick. It does not always keep up, and may read records again."""
        cameras = self._broker.log(*CAMERAS_PARTITION)
        if self.applied_offsets.get(CAMERAS_PARTITION, 0) < self._read:
            self._read = 0
        self.index.write(cameras[self._read :])
        self._read = self.applied_offsets[CAMERAS_PARTITION] = len(cameras)
        committed_watermarks = {
            n: parse_commit_watermark_us(commit.metadata) for n, commit in enumerate(self._broker.commits) if commit
        }
        ends = {place: len(self._broker.log(*place)) for place in TOPIC_PARTITIONS}
        verified = {
            place
            for place in TOPIC_PARTITIONS
            if self._survivor(place) == next(iter(self.read_marks.get(place, ())), None)
        }
        ends = {place: end for place, end in ends.items() if place in verified}
        for place in TOPIC_PARTITIONS if reads_topics else ():
            self._seek(place)
            self._follow(place)
        known = {n: log_us for n, log_us in committed_watermarks.items() if log_us is not None}
        self.watermarks_us |= advanced_watermarks(
            known, ends, self.applied_offsets, self.watermarks_us, count=PARTITIONS
        )

    def _follow(self, partition: TopicPartition) -> None:
        at, log = self.applied_offsets.get(partition, 0), self._broker.log(*partition)
        if not log and partition[0] == names.RETENTION:  # most worlds: draw no random numbers for an unused topic
            return
        end = len(log) if self._rng.random() < 0.7 else self._rng.randint(at, len(log))
        overlap = self._rng.randint(0, 3) if self._rng.random() < 0.1 else 0
        if end > at:
            self.index.write(log[max(0, at - overlap) : end])
            self.read_marks[partition] = add_mark(self.read_marks.get(partition, ()), mark_at(log, end - 1))
        self.applied_offsets[partition] = end

    def _survivor(self, partition: TopicPartition) -> Mark | None:
        return next((mark for mark in self.read_marks.get(partition, ()) if self._broker.has(partition, mark)), None)

    def _seek(self, partition: TopicPartition) -> None:
        """Seeks as over a new connection."""
        applied, read = self.applied_offsets.get(partition), self.read_marks.get(partition, ())
        end, survivor = len(self._broker.log(*partition)), self._survivor(partition)
        self.applied_offsets[partition], _ = resume_offset(applied, 0, end, read_marks=read, survivor=survivor)
        self.read_marks[partition] = tuple(mark for mark in read if mark.offset < self.applied_offsets[partition])
