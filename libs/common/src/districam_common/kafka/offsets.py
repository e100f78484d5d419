"""Questions to the broker about offsets: what groups have committed, where partitions begin and end."""
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
    """A record of ours from one of aiokafka's, or from what the fetcher could not read."""
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
    """The partitions as aiokafka names them."""
    return [TopicPartition(topic, number) for topic, number in partitions]


async def committed(
    admin: AIOKafkaAdminClient, group: str, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, Committed | None]:
    """What the group has committed, text included; None where it never has.

    Raises:
        Retriable: no answer, or none about a partition that was asked for (a coordinator that is still loading
            answers without them; to take that for "never committed" would read everything again).
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
    except AttributeError as error:  # its own way to fail on an answer with an error inside
        raise Retriable(f"reading the commits of {group}: an error for one of the partitions") from error
    return {key: None if value.offset < 0 else Committed(value.offset, value.metadata) for key, value in listed.items()}


async def beginning_offsets(
    consumer: AIOKafkaConsumer, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, int]:
    """The first offset that each partition still has. Raises Retriable."""
    with translate_errors("looking up the partitions' beginnings"):
        async with asyncio.timeout(timeout_s):
            found = await consumer.beginning_offsets(to_topic_partitions(partitions))
    return {Partition(key.topic, key.partition): offset for key, offset in found.items()}


async def end_offsets(
    consumer: AIOKafkaConsumer, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, int]:
    """The offset that each partition's next record will get. Raises Retriable."""
    with translate_errors("looking up the partitions' ends"):
        async with asyncio.timeout(timeout_s):
            found = await consumer.end_offsets(to_topic_partitions(partitions))
    return {Partition(key.topic, key.partition): offset for key, offset in found.items()}


async def available_end_offsets(
    consumer: AIOKafkaConsumer, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, int]:
    """`ends` of the partitions whose leader answers; one that is away costs its own ones alone.

    Raises:
        Retriable: none answers.
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
    """A started consumer for the length of the block, which leaves its group at the end.

    It passes over batches that cannot be read (`fetching`), unless `settings` say that it shall not.

    Raises:
        Retriable: the broker cannot be reached.
        Fatal: it refuses us.
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
    """Raises Retriable unless all of them exist."""
    with translate_errors("looking up topics"):
        async with asyncio.timeout(timeout_s):
            known = await consumer.topics()
    missing = sorted(set(topics) - set(known))
    if missing:
        raise Retriable(f"no topic {', '.join(missing)}: run districam-topics apply")


async def partitions_of(consumer: AIOKafkaConsumer, topic: str, timeout_s: float) -> list[Partition]:
    """Every partition of the topic. Raises Retriable."""
    with translate_errors(f"looking up {topic}"):
        async with asyncio.timeout(timeout_s):
            numbers = await internals.partition_numbers(consumer, topic)
    return [Partition(topic, number) for number in numbers]
