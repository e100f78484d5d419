"""A produce request, and the batches in it, are, byte for byte, what aiokafka itself would have written."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false

from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol import produce
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.output.single_copy_producer import (
    HAS_CRC32C,
    BufferList,
    RecordBatchBuilder,
    SingleCopyProducer,
    SingleCopyProduceRequest,
)

PARTITIONS = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.binary()), max_size=3)
TOPICS = st.lists(st.tuples(st.text(max_size=20), PARTITIONS), max_size=3)


@given(
    st.none() | st.text(max_size=20),
    st.sampled_from([-1, 0, 1]),
    st.integers(0, 2**31 - 1),
    TOPICS,
)
def test_a_request_equals_that_of_aiokafka(
    transactional_id: str | None,
    acks: int,
    timeout_ms: int,
    topics: list[tuple[str, list[tuple[int, bytes]]]],
):
    theirs = produce.ProduceRequest(transactional_id, acks, timeout_ms, topics)
    in_pieces: Any = [
        (topic, [(number, BufferList([data[:3], data[3:]])) for number, data in partitions])
        for topic, partitions in topics
    ]
    for content in (topics, in_pieces):
        ours = SingleCopyProduceRequest(produce.ProduceRequest(transactional_id, acks, timeout_ms, content))
        assert ours.required_acks == acks
        for version in (3, 7):
            expected = theirs.prepare({0: (version, version)}).encode()
            built = ours.prepare({0: (version, version)})
            assert version == built.API_VERSION
            body = built.encode()
            sent = b"size" + (b"header" + body)
            assert sent == b"sizeheader" + expected
            assert len(b"header" + body) == len(sent) - len(b"size")


def test_an_old_produce_version_is_encoded_by_aiokafka():
    topics = [("t", [(0, b"messages")])]
    theirs = produce.ProduceRequest(None, -1, 9, topics)
    ours = SingleCopyProduceRequest(theirs)
    versions = {0: (0, 2)}
    assert ours.prepare(versions).encode() == theirs.prepare(versions).encode()
    with pytest.raises(IncompatibleBrokerVersion):
        SingleCopyProduceRequest(produce.ProduceRequest("transaction", -1, 9, topics)).prepare(versions)


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


@given(RECORDS, STATES, st.integers(100, 20_000))
def test_a_batch_equals_that_of_aiokafka(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
    state: tuple[int, int, int],
    batch_size: int,
):
    ours = RecordBatchBuilder(batch_size)
    theirs = DefaultRecordBatchBuilder(
        2,
        0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=batch_size,
    )
    for offset, (timestamp, key, value, headers) in enumerate(records):
        taken = ours.append(offset, timestamp, key, value, headers)
        expected = theirs.append(offset, timestamp, key=key, value=value, headers=headers)
        if expected is None:
            assert taken is None or ours.size() <= batch_size  # the library's guess of a size is a little too large
            return
        assert taken is not None
        assert (taken.offset, taken.size, taken.timestamp) == (offset, expected.size, expected.timestamp)
        assert ours.size() == theirs.size()
    for builder in (ours, theirs):
        builder.set_producer_state(*state)
    built = ours.build()
    assert bytes(built) == bytes(theirs.build())
    assert len(built) == ours.size()


async def test_other_producers_of_the_process_are_unchanged(monkeypatch: pytest.MonkeyPatch):
    """What it builds and sends is ours; another producer of the same process builds and sends as aiokafka does."""
    sent: list[object] = []

    async def noted(_: AIOKafkaClient, node_id: int, request: object) -> None:  # as the library's
        assert node_id == 1
        sent.append(request)

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    assert HAS_CRC32C
    ours, theirs = SingleCopyProducer(), AIOKafkaProducer()
    for producer, batch, request in (
        (ours, RecordBatchBuilder, SingleCopyProduceRequest),
        (theirs, DefaultRecordBatchBuilder, produce.ProduceRequest),
    ):
        assert type(cast("Any", producer.create_batch())._builder) is batch
        await producer.client.send(1, produce.ProduceRequest(None, -1, 9, []))
        assert type(sent[-1]) is request
        other = object()
        await producer.client.send(1, other)
        assert sent[-1] is other
        await producer.stop()


@pytest.mark.parametrize("refused", [{"compression_type": "gzip"}, {"transactional_id": "t"}])
async def test_compression_and_transactions_are_refused(refused: dict[str, str]):
    with pytest.raises(ValueError, match="neither compression nor transactions"):
        SingleCopyProducer(**refused)
