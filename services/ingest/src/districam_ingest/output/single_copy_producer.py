"""An aiokafka producer that copies a record's value once, into the request, and computes CRC32C in hardware.

aiokafka copies a value into its batch, once more per level of nesting when it encodes the request, and twice on the
way to the socket; its table-driven CRC32C has a twelfth of the hardware's speed. For fragments of half a megabyte that
is 23 % of ingest's CPU time per camera (measured in docs/adr/0018; `ingest.single_copy_producer=false` disables this).

Other producers of the process are unaffected: two members are replaced on each instance, the accumulator's function
that creates a batch and the client's that sends a request. Formats: record batch version 2 (Kafka documentation,
"Message Format"; varints are zigzag), Produce request versions 3 to 7 (Kafka protocol guide).
"""
# aiokafka ships no types; google_crc32c selects its implementation at import time, which leaves its functions untyped:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import struct
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import google_crc32c
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v3
from aiokafka.protocol.types import Int16, Int32, Schema, String

from districam_common.runtime.known_versions import require

require("aiokafka")

HAS_CRC32C = google_crc32c.implementation == "c"
"""Whether google_crc32c has its C extension here. Its Python code is slower than aiokafka, whose batches are used then."""

_LENGTH_FIELD_END, _CRC_END = 12, 21
_HEADER_BEFORE_CRC = struct.Struct(">qiib")
"""baseOffset (set by the broker), batchLength, partitionLeaderEpoch (set by the broker), magic."""
_HEADER_AFTER_CRC = struct.Struct(">hiqqqhii")
"""attributes, lastOffsetDelta, baseTimestamp, maxTimestamp, producerId, producerEpoch, baseSequence, records count."""
_HEADER_BYTES = _CRC_END + _HEADER_AFTER_CRC.size
_MIN_PRODUCE_VERSION = 3
"""First Produce version with record batches of version 2 and a leading transactional_id."""
_STRING = String("utf-8")


class SingleCopyProducer(AIOKafkaProducer):
    """Takes the arguments of `AIOKafkaProducer`.

    Raises:
        ValueError: compression or transactions are asked for.
    """

    def __init__(self, **arguments: Any) -> None:
        if arguments.get("compression_type") or arguments.get("transactional_id"):
            raise ValueError("SingleCopyProducer supports neither compression nor transactions")
        super().__init__(**arguments)
        accumulator: Any = self._message_accumulator
        if HAS_CRC32C:
            accumulator.create_builder = partial(_BatchBuilder, accumulator._batch_size, 0)
        client: Any = self.client
        send = client.send

        def send_single_copy(node_id: int, request: Any, **options: Any) -> Any:
            is_produce = isinstance(request, ProduceRequest)
            return send(node_id, SingleCopyProduceRequest(request) if is_produce else request, **options)

        client.send = send_single_copy


# ---- batches


class AppendedRecord(NamedTuple):
    """The metadata of an appended record that aiokafka's batch builder reads."""

    offset: int
    size: int
    timestamp: int


class BufferList:
    """Bytes as a list of parts, joined only by `bytes()`."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)


class RecordBatchBuilder:
    """Builds a record batch that references its records' values; interface of aiokafka's `DefaultRecordBatchBuilder`.

    Args:
        batch_size: maximum bytes, header included; the first record may exceed it.
    """

    def __init__(self, batch_size: int) -> None:
        self._producer_state = (-1, -1, 0)
        self._max_bytes = batch_size
        self._parts: list[bytes] = []
        self._size = _HEADER_BYTES
        self._count = self._last_offset = 0
        self._base_timestamp_ms = self._max_timestamp_ms = 0

    def set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer_state = (producer_id, producer_epoch, base_sequence)

    def append(
        self,
        offset: int,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> AppendedRecord | None:
        """Adds a record, or returns None if it does not fit. `timestamp` is in ms; None: now."""
        at_ms = int(time.time() * 1000) if timestamp is None else timestamp  # noqa: TID251  # as aiokafka does
        base_timestamp_ms = self._base_timestamp_ms if self._count else at_ms
        # Record: length, attributes (0), timestampDelta, offsetDelta, key, value, headers
        head = b"\0" + _varint(at_ms - base_timestamp_ms) + _varint(offset) + _length_prefixed(key)
        head += _varint(-1 if value is None else len(value))
        encoded_headers = _varint(len(headers)) + b"".join(
            _length_prefixed(name.encode()) + _length_prefixed(content) for name, content in headers
        )
        body_bytes = len(head) + len(value or b"") + len(encoded_headers)
        length_prefix = _varint(body_bytes)
        size = len(length_prefix) + body_bytes
        if self._count and self._size + size > self._max_bytes:
            return None
        self._parts += (length_prefix + head, value or b"", encoded_headers)
        self._size += size
        self._base_timestamp_ms, self._max_timestamp_ms = (base_timestamp_ms, max(self._max_timestamp_ms, at_ms))
        self._count, self._last_offset = self._count + 1, offset
        return AppendedRecord(offset, size, at_ms)

    def build(self) -> BufferList:
        """Returns the whole batch, header first; to be called once."""
        crc_covered_header = _HEADER_AFTER_CRC.pack(
            0,  # attributes: no compression, CreateTime timestamps, not transactional
            self._last_offset,
            self._base_timestamp_ms,
            self._max_timestamp_ms,
            *self._producer_state,
            self._count,
        )
        crc = google_crc32c.value(crc_covered_header)
        for part in self._parts:
            crc = google_crc32c.extend(crc, part)
        header = (
            _HEADER_BEFORE_CRC.pack(0, self._size - _LENGTH_FIELD_END, -1, 2)
            + crc.to_bytes(4, "big")
            + crc_covered_header
        )
        return BufferList([header, *self._parts])

    def size(self) -> int:
        return self._size


class _BatchBuilder(BatchBuilder):
    """aiokafka's builder, with `RecordBatchBuilder` inside."""

    def __init__(self, batch_size: int, compression_type: int, **serializers: Any) -> None:
        super().__init__(batch_size, compression_type, **serializers)
        self._builder: Any = RecordBatchBuilder(batch_size)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, producer_epoch, base_sequence)


def _length_prefixed(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    remaining = number << 1 ^ number >> 63
    out = bytearray()
    while remaining > 0x7F:
        out.append(remaining & 0x7F | 0x80)
        remaining >>= 7
    out.append(remaining)
    return bytes(out)


# ---- requests


class _RequestWithHeader(BufferList):
    """A request with its header. aiokafka computes `size + message` and writes the result to the socket."""

    def __radd__(self, size: bytes) -> bytes:
        return b"".join((size, *self.parts))


class _RequestBody(BufferList):
    """A request without its header: `AIOKafkaConnection.send` of aiokafka computes `header + body`."""

    def __radd__(self, header: bytes) -> _RequestWithHeader:
        return _RequestWithHeader([header, *self.parts])


class _SingleCopySchema(Schema):
    """Encodes a Produce request: transactional_id, acks, timeout_ms, [topic, [partition, records]]."""

    def encode(self, item: Sequence[Any]) -> _RequestBody:  # pyright: ignore[reportIncompatibleMethodOverride]  # not bytes
        transactional_id, acks, timeout_ms, topics = item
        parts = [_STRING.encode(transactional_id), Int16.encode(acks), Int32.encode(timeout_ms)]
        parts.append(Int32.encode(len(topics)))
        for topic, partitions in topics:
            parts += (_STRING.encode(topic), Int32.encode(len(partitions)))
            for number, batch in partitions:
                parts += (Int32.encode(number), Int32.encode(len(batch)))
                parts += batch.parts if isinstance(batch, BufferList) else (batch,)
        return _RequestBody(parts)


_SINGLE_COPY_SCHEMA = _SingleCopySchema(
    *zip(ProduceRequest_v3.SCHEMA.names, ProduceRequest_v3.SCHEMA.fields, strict=True)
)


class SingleCopyProduceRequest(ProduceRequest):
    """A Produce request that `_SingleCopySchema` encodes."""

    def __init__(self, request: ProduceRequest) -> None:
        self._request = request

    @property
    def required_acks(self) -> int:
        """Read by aiokafka's client: with 0 it does not wait for a response."""
        return self._request.required_acks

    def build(self, request_struct_class: Any) -> Any:
        """Returns the request in the broker's version; aiokafka calls this for each send."""
        built: Any = self._request.build(request_struct_class)
        if request_struct_class.API_VERSION >= _MIN_PRODUCE_VERSION:
            built.SCHEMA = _SINGLE_COPY_SCHEMA
        return built
