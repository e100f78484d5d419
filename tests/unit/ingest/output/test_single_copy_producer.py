"""Produce requests and their batches are byte for byte those of aiokafka."""
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


@given(st.none() | st.text(max_size=20), st.sampled_from([-1, 0, 1]), st.integers(0, 2**31 - 1), TOPICS)
def test_a_request_equals_that_of_aiokafka(
    transactional_id: str | None, acks: int, timeout_ms: int, topics: list[tuple[str, list[tuple[int, bytes]]]]
):
    reference = produce.ProduceRequest(transactional_id, acks, timeout_ms, topics)
    in_parts: Any = [
        (topic, [(number, BufferList([data[:3], data[3:]])) for number, data in partitions])
        for topic, partitions in topics
    ]
    for content in (topics, in_parts):
        single_copy = SingleCopyProduceRequest(produce.ProduceRequest(transactional_id, acks, timeout_ms, content))
        assert single_copy.required_acks == acks
        for version in (3, 7):
            expected = reference.prepare({0: (version, version)}).encode()
            built = single_copy.prepare({0: (version, version)})
            assert version == built.API_VERSION
            body = built.encode()
            sent = b"size" + (b"header" + body)
            assert sent == b"sizeheader" + expected
            assert len(b"header" + body) == len(sent) - len(b"size")


def test_an_old_produce_version_is_encoded_by_aiokafka():
    topics = [("t", [(0, b"messages")])]
    reference = produce.ProduceRequest(None, -1, 9, topics)
    single_copy = SingleCopyProduceRequest(reference)
    versions = {0: (0, 2)}
    assert single_copy.prepare(versions).encode() == reference.prepare(versions).encode()
    with pytest.raises(IncompatibleBrokerVersion):
        SingleCopyProduceRequest(produce.ProduceRequest("transaction", -1, 9, topics)).prepare(versions)


HEADERS = st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=200)), max_size=4)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2**45), st.none() | st.binary(max_size=70), st.none() | st.binary(max_size=9_000), HEADERS
    ),
    min_size=1,  # an empty batch is never sent
    max_size=6,
)
STATES = st.tuples(st.integers(-1, 2**62), st.integers(-1, 2**15 - 1), st.integers(-1, 2**31 - 1))


@given(RECORDS, STATES, st.integers(100, 20_000))
def test_a_batch_equals_that_of_aiokafka(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
    state: tuple[int, int, int],
    batch_size: int,
):
    single_copy = RecordBatchBuilder(batch_size)
    reference = DefaultRecordBatchBuilder(
        2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=batch_size
    )
    for offset, (timestamp, key, value, headers) in enumerate(records):
        appended = single_copy.append(offset, timestamp, key, value, headers)
        expected = reference.append(offset, timestamp, key=key, value=value, headers=headers)
        if expected is None:
            # aiokafka's estimate of a record's size is slightly too large.
            assert appended is None or single_copy.size() <= batch_size
            return
        assert appended is not None
        assert (appended.offset, appended.size, appended.timestamp) == (offset, expected.size, expected.timestamp)
        assert single_copy.size() == reference.size()
    for builder in (single_copy, reference):
        builder.set_producer_state(*state)
    built = single_copy.build()
    assert bytes(built) == bytes(reference.build())
    assert len(built) == single_copy.size()


async def test_other_producers_of_the_process_are_unchanged(monkeypatch: pytest.MonkeyPatch):
    """Another producer of the same process builds and sends as aiokafka does."""
    sent: list[object] = []

    async def fake_send(_: AIOKafkaClient, node_id: int, request: object) -> None:  # signature of `AIOKafkaClient.send`
        assert node_id == 1
        sent.append(request)

    monkeypatch.setattr(AIOKafkaClient, "send", fake_send)
    assert HAS_CRC32C
    single_copy, reference = SingleCopyProducer(), AIOKafkaProducer()
    for producer, batch, request in (
        (single_copy, RecordBatchBuilder, SingleCopyProduceRequest),
        (reference, DefaultRecordBatchBuilder, produce.ProduceRequest),
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
