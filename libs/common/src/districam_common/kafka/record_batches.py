"""What a fetch brought, batch by batch. A batch that cannot be read costs itself alone, and is told where it lies.

Every offset comes out once: in a record, or in a `Missing` where no record of ours lies. So readers' positions are dense.
The format is Kafka's record batch of version 2 (Kafka documentation, Message Format). On our topics offsets are dense as
well: nothing is compacted. Only control batches of a transactional producer, which is none of ours, take offsets of
their own.
"""
# aiokafka's record batches are compiled and have few types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import struct
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import ConsumerRecord, TopicPartition

_HAS_CRC32C = google_crc32c.implementation == "c"
"""The compiled one computes the checksum by the processor's own instruction, ten times as fast as aiokafka. If there is no
wheel for this machine, aiokafka's is faster than google-crc32c's Python."""

MAX_ATTEMPTS = 4
"""A batch counts as unreadable when it could not be read so often: a bit that flipped on its way to us is fetched anew,
and each of three replicas is asked."""

_BATCH_HEADER = struct.Struct(">qiib")
"""Base offset, length of what follows these two, leader epoch, magic. No checksum protects them."""
_LENGTH_FIELD_END, _MAGIC, _CRC, _CRC_END = 12, 2, 17, 21
_LAST_DELTA, _COUNT, _HEADER = 23, 57, 61


@dataclass(frozen=True, slots=True)
class OffsetGap:
    """Offsets from `offset` to before `next_offset` that hold no record that can be read.

    `is_lost`: records may have lain there; if not, it is a transaction's control batch.
    """

    topic: str
    partition: int
    offset: int
    next_offset: int
    why: str
    is_lost: bool = True


@dataclass(slots=True)
class ReadFailure:
    """What cannot be read from `start` on, until something is read again.

    Attributes:
        fetch_offset: where the next fetch goes on, `start` until the trouble is certain.
        attempts: how often reading at `fetch_offset`, or before it, has failed.
        why: what failed first.
        probed_to: up to which offset behind `fetch_offset` the broker was found unable to read.
        may_recover: the broker may recover: only a batch that can be read proves that it will not.
    """

    start: int
    fetch_offset: int
    attempts: int = 0
    why: str = ""
    probed_to: int = -1
    may_recover: bool = False

    @property
    def is_certain(self) -> bool:
        return self.attempts >= MAX_ATTEMPTS

    def record_failure(self, why: str) -> bool:
        """Notes one more failure; whether that is enough to pass over it."""
        self.why = self.why or why
        self.attempts += 1
        return self.is_certain


@dataclass(slots=True)
class ReadFailures:
    """Those of one consumer; a partition has one at most."""

    by_partition: dict[TopicPartition, ReadFailure] = field(default_factory=dict[TopicPartition, ReadFailure])

    def get(self, key: TopicPartition, position: int) -> ReadFailure | None:
        """The trouble, if reading has not been sent elsewhere meanwhile."""
        failure = self.by_partition.get(key)
        return failure if failure is not None and failure.fetch_offset == position else None

    def record_failure(self, key: TopicPartition, position: int, why: str) -> ReadFailure | None:
        """Notes that reading at `position` failed. The trouble, once it is certain."""
        failure = self.get(key, position)
        if failure is None:
            failure = self.by_partition[key] = ReadFailure(position, position)
        return failure if failure.record_failure(why) else None

    def clear(self, key: TopicPartition) -> None:
        self.by_partition.pop(key, None)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A whole batch. A control batch has no records of its own."""

    offset: int
    next_offset: int
    records: list[Any]


@dataclass(frozen=True, slots=True)
class _UnreadableBatch:
    """A batch that cannot be read, and the offset behind it by its own word, which need not be true."""

    why: str
    next_offset: int | None = None


class BatchReader:
    """The answer for one partition, as an iterator of `ConsumerRecord` and `Missing`. Stands for aiokafka's `PartitionRecords`.

    Args:
        data: batches from the one that holds `position` on; the last may be cut short.
        end: the partition's end, by the same answer.
    """

    def __init__(self, key: TopicPartition, data: bytes, position: int, end: int, failures: ReadFailures) -> None:
        self.next_fetch_offset = position
        self._key, self._data, self._end, self._failures = key, data, end, failures
        self._items = self._read_all()

    def __iter__(self) -> "BatchReader":
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def _read_all(self) -> Generator[Any]:
        unreadable: _UnreadableBatch | None = None
        begun = self.next_fetch_offset
        found = [self._check_bounds(one) for one in _decode_batches(self._data)]
        for n, one in enumerate(found):
            read = self._check_order(one, found[n + 1 :], unreadable)
            if isinstance(read, _UnreadableBatch):
                unreadable = unreadable or read
            elif read.next_offset > self.next_fetch_offset:
                if not (yield from self._close_gap(read.offset, unreadable)):
                    return
                unreadable = None
                yield from self._records_of(read)
        if unreadable is None and self.next_fetch_offset == begun:
            unreadable = _UnreadableBatch("an answer that does not hold the offset asked for")
        if unreadable is not None:
            yield from self._skip_unreadable(unreadable)

    def _check_bounds(self, found: _Batch | _UnreadableBatch) -> _Batch | _UnreadableBatch:
        """No checksum protects a batch's own offset."""
        if isinstance(found, _Batch) and found.next_offset > self._end:
            return _UnreadableBatch(f"a batch says to be at offset {found.offset}, where the log has none")
        return found

    def _check_order(
        self,
        found: _Batch | _UnreadableBatch,
        others: Sequence[_Batch | _UnreadableBatch],
        unreadable: _UnreadableBatch | None,
    ) -> _Batch | _UnreadableBatch:
        """A batch that begins later than it should is believed only if the one before or the one behind agrees."""
        if isinstance(found, _UnreadableBatch) or found.offset <= self.next_fetch_offset:
            return found
        if unreadable is not None and unreadable.next_offset == found.offset:
            return found
        following = next((other for other in others if isinstance(other, _Batch)), None)
        if following is None or following.offset < found.next_offset:
            return _UnreadableBatch(f"a batch says to be at offset {found.offset}, out of order")
        return found

    def _close_gap(self, offset: int, unreadable: _UnreadableBatch | None) -> Generator[Any, None, bool]:
        """A batch that can be read begins at `offset`: tells what is missing before it. False: to be fetched once more first."""
        position = self.next_fetch_offset
        failure = self._failures.get(self._key, position)
        if offset > position:
            why = unreadable.why if unreadable else "no record has these offsets"
            failure = self._failures.record_failure(self._key, position, why)
            if failure is None:
                return False
        if failure is not None and failure.start < offset:
            yield self._failure_gap(failure, offset)
        self._failures.clear(self._key)
        return True

    def _skip_unreadable(self, unreadable: _UnreadableBatch) -> Generator[Any]:
        """Nothing readable follows in this answer: the next fetch goes on behind what is broken, once that is certain."""
        position = self.next_fetch_offset
        failure = self._failures.record_failure(self._key, position, unreadable.why)
        if failure is None:
            return
        claimed = unreadable.next_offset
        is_credible = claimed is not None and position < claimed <= self._end
        failure.fetch_offset = claimed if claimed is not None and is_credible else position + 1
        self.next_fetch_offset = failure.fetch_offset
        if failure.fetch_offset >= self._end:
            yield self._failure_gap(failure, failure.fetch_offset)
            self._failures.clear(self._key)

    def _failure_gap(self, failure: ReadFailure, until: int) -> OffsetGap:
        self.next_fetch_offset = max(until, self.next_fetch_offset)
        return OffsetGap(self._key.topic, self._key.partition, failure.start, until, failure.why)

    def _records_of(self, read: _Batch) -> Generator[Any]:
        """The batch's records. Offsets without one, which nothing but compaction leaves, lose nothing."""
        for record in read.records:
            if record.offset > self.next_fetch_offset:
                yield self._empty_gap(record.offset, "compacted")
            if record.offset == self.next_fetch_offset:
                self.next_fetch_offset += 1
                yield _consumer_record(self._key, record)
        if read.next_offset > self.next_fetch_offset:
            yield self._empty_gap(read.next_offset, "no record: a transaction's control batch, or compacted")

    def _empty_gap(self, until: int, why: str) -> OffsetGap:
        position, self.next_fetch_offset = self.next_fetch_offset, until
        return OffsetGap(self._key.topic, self._key.partition, position, until, why, is_lost=False)


class SingleGap:
    """Stands where `Batches` do when there is something to tell and nothing to read."""

    def __init__(self, missing: OffsetGap) -> None:
        self.next_fetch_offset = missing.next_offset
        self._items = iter((missing,))

    def __iter__(self) -> "SingleGap":
        return self

    def __next__(self) -> OffsetGap:
        return next(self._items)


def _decode_batches(data: bytes) -> Iterator[_Batch | _UnreadableBatch]:
    """Each batch of the answer; none for a last one that is cut short."""
    view, at = memoryview(data), 0
    while at + _BATCH_HEADER.size <= len(data):
        _, length, _, magic = _BATCH_HEADER.unpack_from(data, at)
        end = at + _LENGTH_FIELD_END + length
        if length < _HEADER - _LENGTH_FIELD_END or (end > len(data) and at == 0):
            yield _UnreadableBatch(f"a batch says to be {length} bytes long")
            return  # where the next one begins is not known
        if end > len(data):
            return
        if magic == _MAGIC:
            yield _decode_batch(view[at:end])
        else:
            yield _UnreadableBatch(f"a batch of format {magic}")
        at = end
    if at == 0 and data:
        yield _UnreadableBatch("half a batch")


def _decode_batch(batch: memoryview) -> _Batch | _UnreadableBatch:
    try:
        return _verified_batch(DefaultRecordBatch(batch), batch)
    except Exception as error:  # noqa: BLE001  # codecs raise whatever they like, and none of it may end a reader
        return _UnreadableBatch(f"a batch that cannot be unpacked: {error}", _claimed_end(batch))


def _verified_batch(found: Any, batch: memoryview) -> _Batch | _UnreadableBatch:
    if not _has_valid_crc(found, batch):
        return _UnreadableBatch("a batch whose checksum is not that of its content", _claimed_end(batch))
    return _Batch(found.base_offset, found.next_offset, [] if found.is_control_batch else list(found))


def _has_valid_crc(found: Any, batch: memoryview) -> bool:
    if not _HAS_CRC32C:
        return bool(found.validate_crc())
    return google_crc32c.value(bytes(batch[_CRC_END:])) == int.from_bytes(batch[_CRC:_CRC_END], "big")


def _claimed_end(batch: memoryview) -> int | None:
    """The offset behind the batch, if two fields of it agree on how many records it has."""
    (offset,) = struct.unpack_from(">q", batch, 0)
    (last,) = struct.unpack_from(">i", batch, _LAST_DELTA)
    (count,) = struct.unpack_from(">i", batch, _COUNT)
    return offset + count if count == last + 1 else None


def _consumer_record(key: TopicPartition, record: Any) -> ConsumerRecord[Any, Any]:
    return ConsumerRecord(
        key.topic,
        key.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        record.checksum,
        len(record.key) if record.key is not None else -1,
        len(record.value) if record.value is not None else -1,
        tuple(record.headers),
    )
