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

TRIES = 4
"""A batch counts as unreadable when it could not be read so often: a bit that flipped on its way to us is fetched anew,
and each of three replicas is asked."""

_FRONT = struct.Struct(">qiib")
"""Base offset, length of what follows these two, leader epoch, magic. No checksum protects them."""
_LENGTH_BEHIND, _MAGIC, _CRC, _CHECKED_FROM = 12, 2, 17, 21
_LAST_DELTA, _COUNT, _HEADER = 23, 57, 61


@dataclass(frozen=True, slots=True)
class Missing:
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
class Trouble:
    """What cannot be read from `start` on, until something is read again.

    Attributes:
        at: where the next fetch goes on, `start` until the trouble is certain.
        tries: how often reading at `at`, or before it, has failed.
        why: what failed first.
        looked: up to which offset behind `at` the broker was found unable to read.
        may_pass: the broker may recover: only a batch that can be read proves that it will not.
    """

    start: int
    at: int
    tries: int = 0
    why: str = ""
    looked: int = -1
    may_pass: bool = False

    @property
    def is_certain(self) -> bool:
        return self.tries >= TRIES

    def is_met(self, why: str) -> bool:
        """Notes one more failure; whether that is enough to pass over it."""
        self.why = self.why or why
        self.tries += 1
        return self.is_certain


@dataclass(slots=True)
class Troubles:
    """Those of one consumer; a partition has one at most."""

    by_partition: dict[TopicPartition, Trouble] = field(default_factory=dict[TopicPartition, Trouble])

    def at(self, key: TopicPartition, position: int) -> Trouble | None:
        """The trouble, if reading has not been sent elsewhere meanwhile."""
        trouble = self.by_partition.get(key)
        return trouble if trouble is not None and trouble.at == position else None

    def met(self, key: TopicPartition, position: int, why: str) -> Trouble | None:
        """Notes that reading at `position` failed. The trouble, once it is certain."""
        trouble = self.at(key, position)
        if trouble is None:
            trouble = self.by_partition[key] = Trouble(position, position)
        return trouble if trouble.is_met(why) else None

    def over(self, key: TopicPartition) -> None:
        self.by_partition.pop(key, None)


@dataclass(frozen=True, slots=True)
class _Read:
    """A whole batch. A control batch has no records of its own."""

    offset: int
    next_offset: int
    records: list[Any]


@dataclass(frozen=True, slots=True)
class _Broken:
    """A batch that cannot be read, and the offset behind it by its own word, which need not be true."""

    why: str
    next_offset: int | None = None


class Batches:
    """The answer for one partition, as an iterator of `ConsumerRecord` and `Missing`. Stands for aiokafka's `PartitionRecords`.

    Args:
        data: batches from the one that holds `position` on; the last may be cut short.
        end: the partition's end, by the same answer.
    """

    def __init__(self, key: TopicPartition, data: bytes, position: int, end: int, troubles: Troubles) -> None:
        self.next_fetch_offset = position
        self._key, self._data, self._end, self._troubles = key, data, end, troubles
        self._items = self._all()

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def _all(self) -> Generator[Any]:
        broken: _Broken | None = None
        begun = self.next_fetch_offset
        found = [self._plausible(one) for one in _batches(self._data)]
        for n, one in enumerate(found):
            read = self._in_order(one, found[n + 1 :], broken)
            if isinstance(read, _Broken):
                broken = broken or read
            elif read.next_offset > self.next_fetch_offset:
                if not (yield from self._reaches(read.offset, broken)):
                    return
                broken = None
                yield from self._of(read)
        if broken is None and self.next_fetch_offset == begun:
            broken = _Broken("an answer that does not hold the offset asked for")
        if broken is not None:
            yield from self._passes(broken)

    def _plausible(self, found: _Read | _Broken) -> _Read | _Broken:
        """No checksum protects a batch's own offset."""
        if isinstance(found, _Read) and found.next_offset > self._end:
            return _Broken(f"a batch says to be at offset {found.offset}, where the log has none")
        return found

    def _in_order(
        self, found: _Read | _Broken, others: Sequence[_Read | _Broken], broken: _Broken | None
    ) -> _Read | _Broken:
        """A batch that begins later than it should is believed only if the one before or the one behind agrees."""
        if isinstance(found, _Broken) or found.offset <= self.next_fetch_offset:
            return found
        if broken is not None and broken.next_offset == found.offset:
            return found
        following = next((other for other in others if isinstance(other, _Read)), None)
        if following is None or following.offset < found.next_offset:
            return _Broken(f"a batch says to be at offset {found.offset}, out of order")
        return found

    def _reaches(self, offset: int, broken: _Broken | None) -> Generator[Any, None, bool]:
        """A batch that can be read begins at `offset`: tells what is missing before it. False: to be fetched once more first."""
        position = self.next_fetch_offset
        trouble = self._troubles.at(self._key, position)
        if offset > position:
            why = broken.why if broken else "no record has these offsets"
            trouble = self._troubles.met(self._key, position, why)
            if trouble is None:
                return False
        if trouble is not None and trouble.start < offset:
            yield self._missing(trouble, offset)
        self._troubles.over(self._key)
        return True

    def _passes(self, broken: _Broken) -> Generator[Any]:
        """Nothing readable follows in this answer: the next fetch goes on behind what is broken, once that is certain."""
        position = self.next_fetch_offset
        trouble = self._troubles.met(self._key, position, broken.why)
        if trouble is None:
            return
        claimed = broken.next_offset
        is_credible = claimed is not None and position < claimed <= self._end
        trouble.at = claimed if claimed is not None and is_credible else position + 1
        self.next_fetch_offset = trouble.at
        if trouble.at >= self._end:
            yield self._missing(trouble, trouble.at)
            self._troubles.over(self._key)

    def _missing(self, trouble: Trouble, until: int) -> Missing:
        self.next_fetch_offset = max(until, self.next_fetch_offset)
        return Missing(self._key.topic, self._key.partition, trouble.start, until, trouble.why)

    def _of(self, read: _Read) -> Generator[Any]:
        """The batch's records. Offsets without one, which nothing but compaction leaves, lose nothing."""
        for record in read.records:
            if record.offset > self.next_fetch_offset:
                yield self._empty(record.offset, "compacted")
            if record.offset == self.next_fetch_offset:
                self.next_fetch_offset += 1
                yield _consumer_record(self._key, record)
        if read.next_offset > self.next_fetch_offset:
            yield self._empty(read.next_offset, "no record: a transaction's control batch, or compacted")

    def _empty(self, until: int, why: str) -> Missing:
        position, self.next_fetch_offset = self.next_fetch_offset, until
        return Missing(self._key.topic, self._key.partition, position, until, why, is_lost=False)


class Told:
    """Stands where `Batches` do when there is something to tell and nothing to read."""

    def __init__(self, missing: Missing) -> None:
        self.next_fetch_offset = missing.next_offset
        self._items = iter((missing,))

    def __iter__(self) -> "Told":
        return self

    def __next__(self) -> Missing:
        return next(self._items)


def _batches(data: bytes) -> Iterator[_Read | _Broken]:
    """Each batch of the answer; none for a last one that is cut short."""
    view, at = memoryview(data), 0
    while at + _FRONT.size <= len(data):
        _, length, _, magic = _FRONT.unpack_from(data, at)
        end = at + _LENGTH_BEHIND + length
        if length < _HEADER - _LENGTH_BEHIND or (end > len(data) and at == 0):
            yield _Broken(f"a batch says to be {length} bytes long")
            return  # where the next one begins is not known
        if end > len(data):
            return
        if magic == _MAGIC:
            yield _read(view[at:end])
        else:
            yield _Broken(f"a batch of format {magic}")
        at = end
    if at == 0 and data:
        yield _Broken("half a batch")


def _read(batch: memoryview) -> _Read | _Broken:
    try:
        return _decoded(DefaultRecordBatch(batch), batch)
    except Exception as error:  # noqa: BLE001  # codecs raise whatever they like, and none of it may end a reader
        return _Broken(f"a batch that cannot be unpacked: {error}", _claimed_end(batch))


def _decoded(found: Any, batch: memoryview) -> _Read | _Broken:
    if not _is_sound(found, batch):
        return _Broken("a batch whose checksum is not that of its content", _claimed_end(batch))
    return _Read(found.base_offset, found.next_offset, [] if found.is_control_batch else list(found))


def _is_sound(found: Any, batch: memoryview) -> bool:
    if not _HAS_CRC32C:
        return bool(found.validate_crc())
    return google_crc32c.value(bytes(batch[_CHECKED_FROM:])) == int.from_bytes(
        batch[_CRC:_CHECKED_FROM], "big"
    )


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
