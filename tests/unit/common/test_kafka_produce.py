"""A produce request, and the batches in it, are, byte for byte, what aiokafka itself would have written."""

from aiokafka.producer import message_accumulator
from aiokafka.protocol import produce as library
from aiokafka.protocol.types import Schema
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from districam_common.kafka import produce
from districam_common.kafka.batch import IS_QUICK, Batch

LIBRARYS = Schema(
    *zip(library.ProduceRequest_v3.SCHEMA.names, library.ProduceRequest_v3.SCHEMA.fields, strict=True)
)
PARTITIONS = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.binary().map(bytearray)), max_size=3)
TOPICS = st.lists(st.tuples(st.text(max_size=20), PARTITIONS), max_size=3)


@given(
    st.none() | st.text(max_size=20),
    st.sampled_from([-1, 0, 1]),
    st.integers(0, 2**31 - 1),
    TOPICS,
)
def test_a_request_is_what_the_library_would_write(
    transactional_id: str | None,
    acks: int,
    timeout_ms: int,
    topics: list[tuple[str, list[tuple[int, bytearray]]]],
):
    produce.use()
    values = (transactional_id, acks, timeout_ms, topics)
    for version in (library.ProduceRequest_v3, library.ProduceRequest_v7):
        assert type(version.SCHEMA) is not Schema
        body = version(*values).encode()
        sent = b"size" + (b"header" + body)
        assert sent == b"sizeheader" + LIBRARYS.encode(values)
        assert len(b"header" + body) == len(sent) - len(b"size")


HEADERS = st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=200)), max_size=4)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2**45),
        st.none() | st.binary(max_size=70),
        st.none() | st.binary(max_size=9_000),
        HEADERS,
    ),
    min_size=1,  # an empty one is never sent
    max_size=6,
)
STATES = st.tuples(st.integers(-1, 2**62), st.integers(-1, 2**15 - 1), st.integers(-1, 2**31 - 1))


@given(RECORDS, STATES, st.integers(100, 20_000), st.sampled_from([0, 1]))
def test_a_batch_is_what_the_library_would_build(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
    state: tuple[int, int, int],
    batch_size: int,
    flags: int,
):
    ours, theirs = (
        made(
            2,
            0,
            is_transactional=flags,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=batch_size,
        )
        for made in (Batch, DefaultRecordBatchBuilder)
    )
    for offset, (timestamp, key, value, headers) in enumerate(records):
        taken = ours.append(offset, timestamp, key, value, headers)
        expected = theirs.append(offset, timestamp, key=key, value=value, headers=headers)
        if expected is None:
            assert (
                taken is None or ours.size() <= batch_size
            )  # the library's guess of a size is a little too large
            return
        assert taken is not None
        assert (taken.offset, taken.size, taken.timestamp) == (offset, expected.size, expected.timestamp)
        assert ours.size() == theirs.size()
    for builder in (ours, theirs):
        builder.set_producer_state(*state)
    built = ours.build()
    assert bytes(built) == bytes(theirs.build())
    assert len(built) == ours.size()


def test_producers_of_this_process_build_such_batches():
    produce.use()
    assert IS_QUICK
    assert message_accumulator.DefaultRecordBatchBuilder is Batch
