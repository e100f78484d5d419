"""An unreadable batch is skipped alone; for any response, each offset is returned once and in order."""
# aiokafka's builder is compiled and has few types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import google_crc32c
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from districam_common.kafka.record_batches import BatchReader, OffsetGap, ReadFailures

KEY = TopicPartition("t", 0)
GZIP, ZSTD, LZ4, SNAPPY = 1, 4, 3, 2
CONTROL = 0x30
"""Attributes of a control batch: transactional, control."""


def batch(offset: int, count: int = 1, *, size: int = 50, codec: int = 0) -> bytes:
    """`count` records; each contains its own offset as text."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    for n in range(count):
        builder.append(n, timestamp=1, key=b"k", value=b"%d|" % (offset + n) + b"." * size, headers=[])
    made = bytearray(builder.build())
    struct.pack_into(">q", made, 0, offset)
    return bytes(made)


def control(offset: int) -> bytes:
    """A control batch as a broker writes it at the end of a transaction."""
    made = bytearray(batch(offset))
    struct.pack_into(">h", made, 21, CONTROL)
    struct.pack_into(">I", made, 17, google_crc32c.value(bytes(made[21:])))
    return bytes(made)


@dataclass
class Log:
    """A broker's partition as batches; a read returns up to `room` bytes from the batch that contains the position.

    The broker starts at the last matching entry of its index (offset → number of a batch), and then uses batch headers.
    """

    batches: Sequence[bytes]
    room: int = 1 << 20
    end: int = 0
    troubles: ReadFailures = field(default_factory=ReadFailures)
    position: int = 0
    index: Mapping[int, int] = field(default_factory=dict[int, int])

    def fetch(self) -> list[object]:
        data = b"".join(self.batches[self._first() :])[: self.room]
        found = BatchReader(KEY, data, self.position, self.end, self.troubles)
        items = list(found)
        self.position = found.next_fetch_offset
        return items

    def _first(self) -> int:
        begun = max((n for offset, n in self.index.items() if offset <= self.position), default=0)
        return next((n for n in range(begun, len(self.batches)) if self._last(n) >= self.position), len(self.batches))

    def _last(self, n: int) -> int:
        """The last offset by the batch's header."""
        (offset,), (delta,) = (struct.unpack_from(">q", self.batches[n]), struct.unpack_from(">i", self.batches[n], 23))
        return offset + delta


def flipped(one: bytes, at: int, bit: int = 0) -> bytes:
    made = bytearray(one)
    made[at] ^= 1 << bit
    return bytes(made)


def read_all(log: Log) -> tuple[list[int], list[OffsetGap]]:
    """Offsets of the records read, checked against their content; and the gaps."""
    found: list[int] = []
    missing: list[OffsetGap] = []
    for _ in range(200):
        if log.position >= log.end:
            return found, missing
        for item in log.fetch():
            if isinstance(item, OffsetGap):
                missing.append(item)
            else:
                offset, value = item.offset, item.value  # pyright: ignore[reportAttributeAccessIssue]
                assert value.startswith(b"%d|" % offset), "a record at another's offset"
                found.append(offset)
    raise AssertionError(f"reading stands at {log.position} for ever")


def accounted(found: list[int], missing: list[OffsetGap]) -> list[int]:
    return sorted([*found, *(n for one in missing for n in range(one.offset, one.next_offset))])


def test_intact_batches_are_read():
    found, missing = read_all(Log([batch(0, 3), batch(3), batch(4, 2)], end=6))
    assert (found, missing) == ([0, 1, 2, 3, 4, 5], [])


@pytest.mark.correctness
def test_an_unreadable_batch_is_skipped_alone_with_its_offsets():
    log = Log([batch(0, 2), flipped(batch(2, 3), -5), batch(5)], end=6)
    found, (missing,) = read_all(log)
    assert found == [0, 1, 5]
    assert (missing.topic, missing.partition, missing.offset, missing.next_offset) == ("t", 0, 2, 5)
    assert missing.is_lost
    assert "checksum" in missing.why


def test_records_before_an_unreadable_batch_are_returned_at_once_and_once():
    log = Log([batch(0, 2), flipped(batch(2), -5)], end=3)
    assert len(log.fetch()) == 2
    assert log.position == 2
    assert log.fetch() == []


def test_a_batch_corrupted_in_transit_is_fetched_again():
    sound, spoilt = [batch(0), batch(1)], [flipped(batch(0), -5), batch(1)]
    log = Log(spoilt, end=2)
    for _ in range(3):
        assert log.fetch() == []
    log.batches = sound
    assert read_all(log) == ([0, 1], [])
    assert not log.troubles.by_partition


def test_an_unreadable_end_of_the_log_is_reported_without_further_records():
    found, missing = read_all(Log([batch(0), flipped(batch(1, 2), -5)], end=3))
    assert (found, [(one.offset, one.next_offset) for one in missing]) == ([0], [(1, 3)])


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
@pytest.mark.correctness
def test_compressed_batches_are_read(codec: int):
    assert read_all(Log([batch(0, 3, codec=codec), batch(3)], end=4)) == ([0, 1, 2, 3], [])


def test_a_control_batch_is_a_gap_without_loss():
    log = Log([batch(0), control(1)], end=2)
    items = log.fetch()
    assert log.position == 2
    missing = [item for item in items if isinstance(item, OffsetGap)]
    assert [(one.offset, one.next_offset, one.is_lost) for one in missing] == [(1, 2, False)]


def test_a_position_inside_a_batch_returns_the_rest_of_it():
    log = Log([batch(0, 5)], end=5, position=3)
    assert read_all(log) == ([3, 4], [])


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "value": lambda one: flipped(one, -5),
    "checksum": lambda one: flipped(one, 18),
    "codec": lambda one: flipped(one, 22, 1),
    "control": lambda one: flipped(one, 22, 5),
    "last offset": lambda one: flipped(one, 26),
    "last offset, far": lambda one: flipped(one, 23, 6),
    "count": lambda one: flipped(one, 60),
    "format": lambda one: flipped(one, 16),
    "its offset, a little": lambda one: flipped(one, 7, 1),
    "its offset, far": lambda one: flipped(one, 2),
    "its offset, before the first": lambda one: flipped(one, 0, 7),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("room", [1 << 20, 250])
def test_batches_around_corrupt_ones_are_read(spoil: Callable[[bytes], bytes], room: int):
    """`room` decides whether the following batches are in the same response."""
    batches = [batch(n) for n in range(12)]
    batches[5] = spoil(batches[5])
    found, missing = read_all(Log(batches, end=12, room=room, index={n: n for n in range(0, 12, 2)}))
    assert set(range(12)) - set(found) == {5}
    assert accounted(found, missing) == list(range(12))
    assert all(one.is_lost for one in missing)


def test_a_corrupt_leader_epoch_has_no_effect():
    assert read_all(Log([flipped(batch(0), 14)], end=1)) == ([0], [])


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=12), st.sets(st.integers(0, 11), max_size=4), st.integers(200, 900)
)
def test_each_offset_is_returned_once_whichever_batches_are_corrupt(counts: list[int], spoilt: set[int], room: int):
    offsets = [sum(counts[:n]) for n in range(len(counts))]
    batches = [batch(offset, count) for offset, count in zip(offsets, counts, strict=True)]
    for n in spoilt:
        if n < len(batches):
            batches[n] = flipped(batches[n], -5)
    found, missing = read_all(Log(batches, end=sum(counts), room=max(room, *map(len, batches))))
    lost = {o + k for n, (o, c) in enumerate(zip(offsets, counts, strict=True)) if n in spoilt for k in range(c)}
    assert found == sorted(set(range(sum(counts))) - lost)
    assert accounted(found, missing) == list(range(sum(counts)))
