"""Produce requests in one piece: aiokafka's own encoder copies every record once for each level of its nesting.

Measured with fragments of half a megabyte: a sixth of all that ingest does for a camera.
"""
# aiokafka's protocol is no public part of it; the version is pinned, and a test compares the bytes:
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from typing import Any

from aiokafka.protocol import produce
from aiokafka.protocol.types import Int16, Int32, Schema, String

_VERSIONS = (
    produce.ProduceRequest_v3,
    produce.ProduceRequest_v4,
    produce.ProduceRequest_v5,
    produce.ProduceRequest_v6,
    produce.ProduceRequest_v7,
)
_TEXT = String("utf-8")


class _InOnePiece(Schema):
    """Transactional id, acks, timeout, topics with their partitions and batches (Kafka protocol, Produce 3 to 7)."""

    def encode(self, item: Sequence[Any]) -> bytes:
        transactional_id, acks, timeout_ms, topics = item
        parts = [_TEXT.encode(transactional_id), Int16.encode(acks), Int32.encode(timeout_ms)]
        parts.append(Int32.encode(len(topics)))
        for topic, partitions in topics:
            parts += (_TEXT.encode(topic), Int32.encode(len(partitions)))
            for number, batch in partitions:
                parts += (Int32.encode(number), Int32.encode(len(batch)), batch)
        return b"".join(parts)


def use() -> None:
    """Lets every producer of this process write its requests so."""
    for version in _VERSIONS:
        if not isinstance(version.SCHEMA, _InOnePiece):
            flat = _InOnePiece()
            flat.names, flat.fields = version.SCHEMA.names, version.SCHEMA.fields
            version.SCHEMA = flat
