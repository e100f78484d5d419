"""Publishes records to Kafka; returns when all in-sync replicas have acknowledged (`acks=all`).

aiokafka retries within the deadline. After it, the caller repeats; a repeat of the same message awaits the first send
if that is still in flight, so nothing is queued twice. Repeating until acknowledged keeps the order of a sequential
sender; duplicates are possible, and consumers drop them.
"""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.structs import RecordMetadata, TopicPartition

from districam_common.contract.names import partition_of
from districam_common.contract.wire import Message
from districam_common.errors import Rejected, Retriable
from districam_common.kafka.connection import client_arguments, require_access, translate_errors
from districam_common.kafka.internals import abandon_producer
from districam_common.runtime.settings import KafkaSettings

log = structlog.get_logger()

_MAX_BATCH_BYTES = 1 << 20
_LINGER_MS = 5
"""Time to wait for further records of a batch."""
_LOG_APPEND_TIME = 1
"""`timestamp_type` of records with the broker's append time (Kafka protocol, record batch attributes)."""
_BATCH_OVERHEAD_BYTES = 1024
"""Upper bound of what a record batch adds to key, value and headers."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Position and append time of a published record; `append_us` has millisecond resolution (LogAppendTime).

    `offset` is -1 if the broker recognised a duplicate but not its offset. `broker` is the id of the broker whose clock
    gave `append_us`; None for such a duplicate, and in a topic with the producer's timestamps (CreateTime).
    """

    partition: int
    offset: int
    append_us: int
    broker: int | None = None


class Publisher:
    """Publishes for all tasks of a process. Connects at the first use, and replaces its producer after errors."""

    def __init__(
        self, settings: KafkaSettings, client_id: str, producer_type: type[AIOKafkaProducer] = AIOKafkaProducer
    ) -> None:
        self._settings = settings
        self._producer_type = producer_type
        self._client_id = client_id
        self._lock = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._in_flight: dict[int, tuple[Message, asyncio.Future[RecordMetadata]]] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: KafkaSettings, client_id: str, producer_type: type[AIOKafkaProducer] = AIOKafkaProducer
    ) -> AsyncGenerator["Publisher"]:
        """A publisher for the duration of the block; connects later. `producer_type`: the producer class to use."""
        publisher = cls(settings, client_id, producer_type)
        try:
            yield publisher
        finally:
            await publisher._discard_producer(publisher._producer)

    async def publish(self, topic: str, message: Message, *, partition: int | None = None) -> Ack:
        """Sends one record; returns once it is acknowledged. `partition` defaults to `partition_of` the key.

        Raises:
            Retriable: not acknowledged in time; publish the same message again.
            Rejected: too large for the broker.
            Fatal: the broker rejected the authentication.
        """
        self._check_size(topic, message)
        producer: AIOKafkaProducer | None = None
        try:
            with translate_errors(f"publishing to {topic}"):
                async with asyncio.timeout(self._settings.request_timeout_s):
                    producer = await self._connected_producer()
                    metadata = await self._send(producer, topic, message, partition)
        except Retriable as error:
            if _needs_new_producer(error.__cause__):
                log.warning("producer replaced", why=str(error))
                await self._discard_producer(producer)
            raise
        return Ack(
            metadata.partition, metadata.offset, (metadata.timestamp or 0) * 1000, _append_broker(producer, metadata)
        )

    async def partitions(self, topic: str) -> int:
        """The number of partitions of the topic.

        Raises:
            Retriable: the broker does not answer, or the topic does not exist.
        """
        with translate_errors(f"looking up {topic}"):
            async with asyncio.timeout(self._settings.request_timeout_s):
                producer = await self._connected_producer()
                return len(await producer.partitions_for(topic))

    async def leaders(self, topic: str) -> dict[int, int]:
        """Partition number → id of its leader; partitions without a leader are left out. Raises Retriable."""
        with translate_errors(f"looking up {topic}"):
            async with asyncio.timeout(self._settings.request_timeout_s):
                producer = await self._connected_producer()
                numbers = await producer.partitions_for(topic)
        found = {number: _leader(producer, topic, number) for number in numbers}
        return {number: broker for number, broker in found.items() if broker is not None}

    def _check_size(self, topic: str, message: Message) -> None:
        headers = sum(len(name) + len(value) + 10 for name, value in message.headers)
        size = len(message.key) + len(message.value) + headers + _BATCH_OVERHEAD_BYTES
        if size > self._settings.max_request_bytes:
            raise Rejected(f"publishing to {topic}: {size} bytes exceed DISTRICAM_KAFKA__MAX_REQUEST_BYTES")

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, message: Message, partition: int | None
    ) -> RecordMetadata:
        _, future = self._in_flight.get(id(message), (message, None))
        if future is None:
            if partition is None:
                partition = partition_of(message.key.decode(), len(await producer.partitions_for(topic)))
            future = await self._enqueue(producer, topic, message, partition)
        return await asyncio.shield(future)

    async def _enqueue(
        self, producer: AIOKafkaProducer, topic: str, message: Message, partition: int
    ) -> asyncio.Future[RecordMetadata]:
        future = cast(
            "asyncio.Future[RecordMetadata]",
            await producer.send(topic, message.value, message.key, partition=partition, headers=message.headers),
        )
        self._in_flight[id(message)] = (message, future)

        def settle(done: asyncio.Future[RecordMetadata]) -> None:
            del self._in_flight[id(message)]
            if not done.cancelled():
                done.exception()  # marks the exception as retrieved, also if no task awaits the future any more

        future.add_done_callback(settle)
        return future

    async def _connected_producer(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = self._create_producer()
                try:
                    await producer.start()
                except kafka.KafkaConnectionError:
                    await abandon_producer(producer)
                    await require_access(self._settings, self._client_id)
                    raise
                except BaseException:
                    await abandon_producer(producer)
                    raise
                self._producer = producer
            return self._producer

    def _create_producer(self) -> AIOKafkaProducer:
        return self._producer_type(
            **client_arguments(self._settings, self._client_id),
            acks="all",
            enable_idempotence=self._settings.idempotent,
            max_request_size=self._settings.max_request_bytes,
            max_batch_size=_MAX_BATCH_BYTES,
            linger_ms=_LINGER_MS,
            compression_type=None,
        )

    async def _discard_producer(self, producer: AIOKafkaProducer | None) -> None:
        """Closes the producer unless already replaced; its unsent records fail, and their senders publish them again."""
        async with self._lock:
            if producer is None or producer is not self._producer:
                return
            self._producer = None
            await abandon_producer(producer)


def _append_broker(producer: AIOKafkaProducer, metadata: RecordMetadata) -> int | None:
    if metadata.timestamp_type != _LOG_APPEND_TIME:
        return None
    return _leader(producer, metadata.topic, metadata.partition)


def _leader(producer: AIOKafkaProducer, topic: str, partition: int) -> int | None:
    leader: int | None = producer.client.cluster.leader_for_partition(TopicPartition(topic, partition))
    return leader if leader is not None and leader >= 0 else None


def _needs_new_producer(cause: BaseException | None) -> bool:
    """Whether the producer cannot recover: its sequence numbers, its epoch or its sender task are broken.

    An idempotent producer does not recover from a lost sequence number (aiokafka #1017); it does recover from ordinary
    broker and network errors.
    """
    if not isinstance(cause, kafka.KafkaError) or isinstance(cause, kafka.KafkaTimeoutError):
        return False
    return not cause.retriable
