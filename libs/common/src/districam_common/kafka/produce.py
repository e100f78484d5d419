"""Produce requests that are put together once.

aiokafka's own encoder copies every record once for each level of its nesting, its connection does twice more, and its
batches did before that (`batch`). Measured with fragments of half a megabyte: a sixth of all
that ingest did for a camera, and a tenth of what was left.
"""
# aiokafka's protocol is no public part of it; the version is pinned, and tests compare the bytes:
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from typing import Any

from aiokafka.producer import message_accumulator
from aiokafka.protocol import produce
from aiokafka.protocol.types import Int16, Int32, Schema, String

from districam_common.kafka.batch import IS_QUICK, Batch, Pieces

_VERSIONS = (
    produce.ProduceRequest_v3,
    produce.ProduceRequest_v4,
    produce.ProduceRequest_v5,
    produce.ProduceRequest_v6,
    produce.ProduceRequest_v7,
)
_TEXT = String("utf-8")


class Body(Pieces):
    """A request behind its header. `AIOKafkaConnection.send` puts first the header before it, then the size of both."""

    def __radd__(self, header: bytes) -> "_Headed":
        return _Headed([header, *self.parts])


class _Headed(Pieces):
    def __radd__(self, size: bytes) -> bytes:
        return b"".join((size, *self.parts))


class _InOnePiece(Schema):
    """Transactional id, acks, timeout, topics with their partitions and batches (Kafka protocol, Produce 3 to 7)."""

    def encode(self, item: Sequence[Any]) -> Body:  # pyright: ignore[reportIncompatibleMethodOverride]  # not bytes
        transactional_id, acks, timeout_ms, topics = item
        parts = [_TEXT.encode(transactional_id), Int16.encode(acks), Int32.encode(timeout_ms)]
        parts.append(Int32.encode(len(topics)))
        for topic, partitions in topics:
            parts += (_TEXT.encode(topic), Int32.encode(len(partitions)))
            for number, batch in partitions:
                parts += (Int32.encode(number), Int32.encode(len(batch)))
                parts += batch.parts if isinstance(batch, Pieces) else (batch,)
        return Body(parts)


def use() -> None:
    """Lets every producer of this process make its batches and write its requests so."""
    if IS_QUICK:
        message_accumulator.DefaultRecordBatchBuilder = Batch
    for version in _VERSIONS:
        if not isinstance(version.SCHEMA, _InOnePiece):
            flat = _InOnePiece()
            flat.names, flat.fields = version.SCHEMA.names, version.SCHEMA.fields
            version.SCHEMA = flat
