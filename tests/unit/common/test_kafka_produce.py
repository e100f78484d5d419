"""A produce request is, byte for byte, what aiokafka itself would have written."""

from aiokafka.protocol import produce as library
from aiokafka.protocol.types import Schema
from hypothesis import given
from hypothesis import strategies as st

from districam_common.kafka import produce

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
        assert version(*values).encode() == LIBRARYS.encode(values)
