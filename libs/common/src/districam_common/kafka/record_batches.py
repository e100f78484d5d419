"""Decodes the record batches of a fetch response. An unreadable batch is skipped alone, and reported with its offsets.

Every offset is returned once: as a record, or within an `OffsetGap`; so readers' positions have no holes. The format is
Kafka's record batch, version 2 (Kafka documentation, Message Format). On our topics offsets are contiguous: nothing is
compacted, and only control batches of transactional producers, which we do not use, take offsets without records.
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
"""The C implementation uses the processor's CRC instruction, ten times as fast as aiokafka. Without a wheel for this
machine, aiokafka is faster than google-crc32c's Python implementation."""

MAX_ATTEMPTS = 4
"""Failed reads after which a batch counts as unreadable: enough to fetch again after a bit error in transit, and from
each of three replicas."""

_BATCH_HEADER = struct.Struct(">qiib")
"""baseOffset, batchLength (of what follows it), partitionLeaderEpoch, magic. The CRC does not cover them."""
_LENGTH_FIELD_END, _MAGIC, _CRC, _CRC_END = 12, 2, 17, 21
"""End of batchLength; the magic of version 2; begin and end of crc, which covers everything after it."""
_LAST_DELTA, _COUNT, _HEADER = 23, 57, 61
"""Positions of lastOffsetDelta and of the number of records; size of the header before the records."""


@dataclass(frozen=True, slots=True)
class OffsetGap:
    """Offsets [offset, next_offset) without a readable record.

    `is_lost`: there may have been records; if False, the offsets are a control batch's or compacted.
    """

    topic: str
    partition: int
    offset: int
    next_offset: int
    why: str
    is_lost: bool = True


@dataclass(slots=True)
class ReadFailure:
    """Failed reads of a partition at `start` and the offsets after it.

    Attributes:
        fetch_offset: offset of the next fetch; `start` until the failure is certain.
        attempts: number of failed reads at `fetch_offset` and before it.
        why: the first failure.
        probed_to: last offset after `fetch_offset` that the broker was found unable to read.
        may_recover: the broker may recover, so only a readable batch after it proves that these offsets are lost.
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
        """Counts a failure; returns whether there have been enough to skip the offsets."""
        self.why = self.why or why
        self.attempts += 1
        return self.is_certain


@dataclass(slots=True)
class ReadFailures:
    """The read failures of one consumer, at most one per partition."""

    by_partition: dict[TopicPartition, ReadFailure] = field(default_factory=dict[TopicPartition, ReadFailure])

    def get(self, key: TopicPartition, position: int) -> ReadFailure | None:
        """The partition's failure; None if there is none, or the position was sought elsewhere since."""
        failure = self.by_partition.get(key)
        return failure if failure is not None and failure.fetch_offset == position else None

    def record_failure(self, key: TopicPartition, position: int, why: str) -> ReadFailure | None:
        """Counts a failed read at `position`; returns the failure if it is certain by now, else None."""
        failure = self.get(key, position)
        if failure is None:
            failure = self.by_partition[key] = ReadFailure(position, position)
        return failure if failure.record_failure(why) else None

    def clear(self, key: TopicPartition) -> None:
        self.by_partition.pop(key, None)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A decoded batch; `records` is empty for a control batch."""

    offset: int
    next_offset: int
    records: list[Any]


@dataclass(frozen=True, slots=True)
class _UnreadableBatch:
    """A batch that cannot be read; `next_offset` is what its own header claims, which may be wrong."""

    why: str
    next_offset: int | None = None


class BatchReader:
    """Iterates over a partition's fetch response as `ConsumerRecord` and `OffsetGap`; replaces aiokafka's `PartitionRecords`.

    Args:
        data: batches, beginning with the one that contains `position`; the last may be incomplete.
        end: the partition's high watermark in the same response.
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
            unreadable = _UnreadableBatch("the response does not contain the requested offset")
        if unreadable is not None:
            yield from self._skip_unreadable(unreadable)

    def _check_bounds(self, found: _Batch | _UnreadableBatch) -> _Batch | _UnreadableBatch:
        """Rejects a batch beyond the log's end: the CRC does not cover a batch's base offset."""
        if isinstance(found, _Batch) and found.next_offset > self._end:
            return _UnreadableBatch(f"the batch's base offset {found.offset} is beyond the log's end")
        return found

    def _check_order(
        self,
        found: _Batch | _UnreadableBatch,
        others: Sequence[_Batch | _UnreadableBatch],
        unreadable: _UnreadableBatch | None,
    ) -> _Batch | _UnreadableBatch:
        """Accepts a batch that begins after the expected offset only if the batch before or after it is consistent."""
        if isinstance(found, _UnreadableBatch) or found.offset <= self.next_fetch_offset:
            return found
        if unreadable is not None and unreadable.next_offset == found.offset:
            return found
        following = next((other for other in others if isinstance(other, _Batch)), None)
        if following is None or following.offset < found.next_offset:
            return _UnreadableBatch(f"the batch's base offset {found.offset} is out of order")
        return found

    def _close_gap(self, offset: int, unreadable: _UnreadableBatch | None) -> Generator[Any, None, bool]:
        """Yields the gap before a readable batch at `offset`. Returns False if it must first be fetched again."""
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
        """Handles an unreadable end of the response: once that is certain, the next fetch begins after it."""
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
        """Yields the batch's records. Offsets without a record come from compaction; nothing is lost there."""
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
    """Takes the place of a `BatchReader` for a response with a gap and no data."""

    def __init__(self, missing: OffsetGap) -> None:
        self.next_fetch_offset = missing.next_offset
        self._items = iter((missing,))

    def __iter__(self) -> "SingleGap":
        return self

    def __next__(self) -> OffsetGap:
        return next(self._items)


def _decode_batches(data: bytes) -> Iterator[_Batch | _UnreadableBatch]:
    """Each batch of the response; an incomplete last one is left out."""
    view, at = memoryview(data), 0
    while at + _BATCH_HEADER.size <= len(data):
        _, length, _, magic = _BATCH_HEADER.unpack_from(data, at)
        end = at + _LENGTH_FIELD_END + length
        if length < _HEADER - _LENGTH_FIELD_END or (end > len(data) and at == 0):
            yield _UnreadableBatch(f"the batch's length field is {length}")
            return  # the next batch's position is unknown
        if end > len(data):
            return
        if magic == _MAGIC:
            yield _decode_batch(view[at:end])
        else:
            yield _UnreadableBatch(f"the batch's magic is {magic}")
        at = end
    if at == 0 and data:
        yield _UnreadableBatch("the batch is incomplete")


def _decode_batch(batch: memoryview) -> _Batch | _UnreadableBatch:
    try:
        return _verified_batch(DefaultRecordBatch(batch), batch)
    except Exception as error:  # noqa: BLE001  # decompressors raise any type of error, and none may end the reader
        return _UnreadableBatch(f"the batch cannot be decoded: {error}", _claimed_end(batch))


def _verified_batch(found: Any, batch: memoryview) -> _Batch | _UnreadableBatch:
    if not _has_valid_crc(found, batch):
        return _UnreadableBatch("the batch's checksum (CRC-32C) does not match", _claimed_end(batch))
    return _Batch(found.base_offset, found.next_offset, [] if found.is_control_batch else list(found))


def _has_valid_crc(found: Any, batch: memoryview) -> bool:
    if not _HAS_CRC32C:
        return bool(found.validate_crc())
    return google_crc32c.value(bytes(batch[_CRC_END:])) == int.from_bytes(batch[_CRC:_CRC_END], "big")


def _claimed_end(batch: memoryview) -> int | None:
    """The next offset that the header claims; None if lastOffsetDelta and the number of records disagree."""
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
