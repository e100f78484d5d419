"""Queries about offsets: commits of groups, beginnings and ends of partitions; opening consumers."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from districam_common.errors import DistricamError, Retriable
from districam_common.kafka import internals, skipping_fetcher
from districam_common.kafka.connection import close_within_timeout, translate_errors
from districam_common.kafka.record_batches import OffsetGap
from districam_common.kafka.records import Committed, Partition, Record
from districam_common.runtime.metrics import UNREADABLE_BATCHES
from districam_common.runtime.settings import KafkaSettings

log = structlog.get_logger()


def to_record(raw: "ConsumerRecord[bytes | None, bytes | None] | OffsetGap") -> Record:
    """Converts aiokafka's record, or a gap that the fetcher could not read, to `Record`."""
    if isinstance(raw, OffsetGap):
        return _gap_record(raw)
    headers = tuple(raw.headers)
    return Record(raw.topic, raw.partition, raw.offset, raw.timestamp * 1000, raw.key, raw.value, headers)


def _gap_record(gap: OffsetGap) -> Record:
    last, count = gap.next_offset - 1, gap.next_offset - gap.offset
    where = f"offset {gap.offset}" if count == 1 else f"offsets {gap.offset} to {last}"
    if gap.is_lost:
        UNREADABLE_BATCHES.labels(gap.topic).inc()
        log.error(
            "batch unreadable",
            topic=gap.topic,
            partition=gap.partition,
            offset=gap.offset,
            last_offset=last,
            why=gap.why,
        )
    return Record(
        gap.topic,
        gap.partition,
        gap.offset,
        0,
        None,
        None,
        (),
        count=count,
        problem=f"{where}: {gap.why}",
        is_lost=gap.is_lost,
    )


def to_topic_partitions(partitions: Iterable[Partition]) -> list[TopicPartition]:
    """Converts to aiokafka's type."""
    return [TopicPartition(topic, number) for topic, number in partitions]


async def committed(
    admin: AIOKafkaAdminClient, group: str, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, Committed | None]:
    """The group's commits with their metadata; None where it never committed.

    Raises:
        Retriable: no answer, or a partition is missing in it (a coordinator that is still loading leaves them out;
            to treat that as "never committed" would read everything again).
    """
    wanted = list(partitions)
    if not wanted:
        return {}
    with translate_errors(f"reading the commits of {group}"):
        async with asyncio.timeout(timeout_s):
            found = await _list_committed(admin, group, wanted)
    missing = [partition for partition in wanted if TopicPartition(*partition) not in found]
    if missing:
        raise Retriable(f"reading the commits of {group}: the coordinator does not know {missing[:3]} yet")
    return {partition: found[TopicPartition(*partition)] for partition in wanted}


async def _list_committed(
    admin: AIOKafkaAdminClient, group: str, partitions: Iterable[Partition]
) -> dict[TopicPartition, Committed | None]:
    try:
        listed = await admin.list_consumer_group_offsets(group, partitions=to_topic_partitions(partitions))
    except AttributeError as error:  # what aiokafka raises for a response that contains an error code
        raise Retriable(f"reading the commits of {group}: an error for one of the partitions") from error
    return {key: None if value.offset < 0 else Committed(value.offset, value.metadata) for key, value in listed.items()}


async def beginning_offsets(
    consumer: AIOKafkaConsumer, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, int]:
    """The first offset of each partition's log. Raises Retriable."""
    with translate_errors("requesting the beginning offsets"):
        async with asyncio.timeout(timeout_s):
            found = await consumer.beginning_offsets(to_topic_partitions(partitions))
    return {Partition(key.topic, key.partition): offset for key, offset in found.items()}


async def end_offsets(
    consumer: AIOKafkaConsumer, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, int]:
    """The offset that each partition's next record will get. Raises Retriable."""
    with translate_errors("requesting the end offsets"):
        async with asyncio.timeout(timeout_s):
            found = await consumer.end_offsets(to_topic_partitions(partitions))
    return {Partition(key.topic, key.partition): offset for key, offset in found.items()}


async def available_end_offsets(
    consumer: AIOKafkaConsumer, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, int]:
    """`end_offsets`, requested per leader: partitions whose leader does not answer are left out.

    Raises:
        Retriable: no leader answers.
    """
    by_leader: defaultdict[int | None, list[Partition]] = defaultdict(list)
    for partition in partitions:
        by_leader[internals.leader(consumer, partition)].append(partition)
    out: dict[Partition, int] = {}
    failed: list[DistricamError] = []

    async def ask(some: Iterable[Partition]) -> None:
        try:
            out.update(await end_offsets(consumer, some, timeout_s))
        except DistricamError as error:
            failed.append(error)

    async with asyncio.TaskGroup() as tasks:
        for some in by_leader.values():
            tasks.create_task(ask(some))
    final = [error for error in failed if not isinstance(error, Retriable)]
    if final or (failed and not out):
        raise (final or failed)[0]
    return out


@asynccontextmanager
async def open_consumer(consumer: AIOKafkaConsumer, settings: KafkaSettings) -> AsyncGenerator[AIOKafkaConsumer]:
    """A started consumer for the duration of the block, which leaves its group at the end.

    It skips unreadable batches (`skipping_fetcher`) if `settings.skip_unreadable`.

    Raises:
        Retriable: the broker cannot be reached.
        Fatal: authentication failed, or the server's certificate is not accepted.
    """
    try:
        with translate_errors("connecting to Kafka"):
            async with asyncio.timeout(settings.request_timeout_s):
                await consumer.start()
        if settings.skip_unreadable:
            await skipping_fetcher.install(consumer)
        yield consumer
    finally:
        if not await close_within_timeout(consumer.stop()):
            await internals.abandon_consumer(consumer)


async def require_topics(consumer: AIOKafkaConsumer, topics: Iterable[str], timeout_s: float) -> None:
    """Raises Retriable unless all topics exist on the broker."""
    with translate_errors("looking up topics"):
        async with asyncio.timeout(timeout_s):
            known = await consumer.topics()
    missing = sorted(set(topics) - set(known))
    if missing:
        raise Retriable(f"topics missing: {', '.join(missing)}; run districam-topics apply")


async def partitions_of(consumer: AIOKafkaConsumer, topic: str, timeout_s: float) -> list[Partition]:
    """Every partition of the topic. Raises Retriable."""
    with translate_errors(f"looking up {topic}"):
        async with asyncio.timeout(timeout_s):
            numbers = await internals.partition_numbers(consumer, topic)
    return [Partition(topic, number) for number in numbers]
