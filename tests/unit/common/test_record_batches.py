"""A batch that cannot be read costs itself alone; whatever the answer, each offset comes out once and in order."""
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
    """`count` records; each holds its own offset as text."""
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
    """As a broker writes it at the end of a transaction."""
    made = bytearray(batch(offset))
    struct.pack_into(">h", made, 21, CONTROL)
    struct.pack_into(">I", made, 17, google_crc32c.value(bytes(made[21:])))
    return bytes(made)


@dataclass
class Log:
    """A broker's partition, as batches; a read gives those from the one that holds the position on, up to `room` bytes.

    The broker goes to the last fitting entry of its index (offset → number of a batch), and on by the batches' own words.
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
        """By the batch's own words."""
        (offset,), (delta,) = (
            struct.unpack_from(">q", self.batches[n]),
            struct.unpack_from(">i", self.batches[n], 23),
        )
        return offset + delta


def flipped(one: bytes, at: int, bit: int = 0) -> bytes:
    made = bytearray(one)
    made[at] ^= 1 << bit
    return bytes(made)


def read_all(log: Log) -> tuple[list[int], list[OffsetGap]]:
    """Offsets of what was read, which each record confirms; and what was told as missing."""
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


def test_sound_batches_are_read_as_they_are():
    found, missing = read_all(Log([batch(0, 3), batch(3), batch(4, 2)], end=6))
    assert (found, missing) == ([0, 1, 2, 3, 4, 5], [])


@pytest.mark.correctness
def test_one_unreadable_batch_costs_itself_alone_and_is_told_where_it_lies():
    log = Log([batch(0, 2), flipped(batch(2, 3), -5), batch(5)], end=6)
    found, (missing,) = read_all(log)
    assert found == [0, 1, 5]
    assert (missing.topic, missing.partition, missing.offset, missing.next_offset) == ("t", 0, 2, 5)
    assert missing.is_lost
    assert "checksum" in missing.why


def test_what_comes_before_it_is_given_out_at_once_and_nothing_twice():
    log = Log([batch(0, 2), flipped(batch(2), -5)], end=3)
    assert len(log.fetch()) == 2
    assert log.position == 2
    assert log.fetch() == []


def test_a_bit_that_flipped_on_the_way_is_fetched_anew():
    sound, spoilt = [batch(0), batch(1)], [flipped(batch(0), -5), batch(1)]
    log = Log(spoilt, end=2)
    for _ in range(3):
        assert log.fetch() == []
    log.batches = sound
    assert read_all(log) == ([0, 1], [])
    assert not log.troubles.by_partition


def test_the_last_of_the_log_is_told_without_waiting_for_more():
    found, missing = read_all(Log([batch(0), flipped(batch(1, 2), -5)], end=3))
    assert (found, [(one.offset, one.next_offset) for one in missing]) == ([0], [(1, 3)])


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
@pytest.mark.correctness
def test_what_somebody_compressed_can_be_read(codec: int):
    assert read_all(Log([batch(0, 3, codec=codec), batch(3)], end=4)) == ([0, 1, 2, 3], [])


def test_a_transactions_control_batch_has_an_offset_and_loses_nothing():
    log = Log([batch(0), control(1)], end=2)
    items = log.fetch()
    assert log.position == 2
    missing = [item for item in items if isinstance(item, OffsetGap)]
    assert [(one.offset, one.next_offset, one.is_lost) for one in missing] == [(1, 2, False)]


def test_a_position_inside_a_batch_gives_the_rest_of_it():
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
def test_whatever_is_spoilt_the_others_are_read(spoil: Callable[[bytes], bytes], room: int):
    """`room`: whether what follows comes in the same answer."""
    batches = [batch(n) for n in range(12)]
    batches[5] = spoil(batches[5])
    found, missing = read_all(Log(batches, end=12, room=room, index={n: n for n in range(0, 12, 2)}))
    assert set(range(12)) - set(found) == {5}
    assert accounted(found, missing) == list(range(12))
    assert all(one.is_lost for one in missing)


def test_the_leaders_epoch_protects_nothing_and_costs_nothing():
    assert read_all(Log([flipped(batch(0), 14)], end=1)) == ([0], [])


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=12),
    st.sets(st.integers(0, 11), max_size=4),
    st.integers(200, 900),
)
def test_each_offset_comes_out_once_whichever_batches_are_spoilt(counts: list[int], spoilt: set[int], room: int):
    offsets = [sum(counts[:n]) for n in range(len(counts))]
    batches = [batch(offset, count) for offset, count in zip(offsets, counts, strict=True)]
    for n in spoilt:
        if n < len(batches):
            batches[n] = flipped(batches[n], -5)
    found, missing = read_all(Log(batches, end=sum(counts), room=max(room, *map(len, batches))))
    lost = {o + k for n, (o, c) in enumerate(zip(offsets, counts, strict=True)) if n in spoilt for k in range(c)}
    assert found == sorted(set(range(sum(counts))) - lost)
    assert accounted(found, missing) == list(range(sum(counts)))
