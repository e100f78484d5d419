"""Uses of aiokafka's private API by the consumer and the producer, one function each.

Two more modules use aiokafka's internals, each for one purpose: `skipping_fetcher` reads batches, and ingest's
`single_copy_producer` writes them (docs/adr/0018). `tests/unit/test_private_names.py` has the list.
"""
# aiokafka ships no types, and its internals are the subject of this module:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import TopicPartition

from districam_common.kafka.connection import close_within_timeout
from districam_common.kafka.records import Partition
from districam_common.runtime.known_versions import require

require("aiokafka")

log = structlog.get_logger()

# ---- the cluster. A consumer's client is private; a producer's is public.


def leader(consumer: AIOKafkaConsumer, partition: Partition) -> int | None:
    """The id of the broker that leads the partition; None if unknown, -1 if no broker does."""
    found: int | None = consumer._client.cluster.leader_for_partition(TopicPartition(*partition))
    return found


async def partition_numbers(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    """The topic's partition numbers, from the broker if needed: `partitions_for_topic` knows only subscribed topics."""
    return sorted(await consumer._client._wait_on_metadata(topic))


# ---- connections


def connections(consumer: AIOKafkaConsumer) -> Sequence[object]:
    """The leader table and all live connections; while these are the same objects, no leader or connection has changed."""
    client: Any = consumer._client
    live = [connection for _, connection in client._conns.items() if connection.connected()]
    return [client.cluster._partitions, *live]


def connection_to_leader(consumer: AIOKafkaConsumer, partition: Partition) -> object | None:
    """The live connection to the partition's leader, over which its records are fetched; None if there is none."""
    client: Any = consumer._client
    wanted = leader(consumer, partition)
    for (node_id, _), connection in client._conns.items():
        if node_id == wanted and connection.connected():
            return connection
    return None


# ---- a consumer in a group


def is_rebalancing(consumer: AIOKafkaConsumer) -> bool:
    """Whether partitions are being reassigned: `getmany` would wait for that without a deadline."""
    return consumer._subscription.reassignment_in_progress


def reset_fetch_count(consumer: AIOKafkaConsumer) -> None:
    """Must be called when `getmany` raised or was cancelled.

    `getmany` counts running calls and does not decrement the count then. aiokafka would believe that this consumer is
    always reading, and `max_poll_interval_ms` would have no effect.
    """
    consumer._subscription._fetch_count = 0


def generation(consumer: AIOKafkaConsumer) -> int:
    """The group generation of this consumer's membership; below 0 while it is not a member."""
    coordinator: Any = consumer._coordinator
    return coordinator.generation


def on_heartbeat(consumer: AIOKafkaConsumer, answered: Callable[[], None]) -> None:
    """Calls `answered` after each heartbeat that the group coordinator answers without an error."""
    coordinator: Any = consumer._coordinator
    heartbeat: Callable[[], Awaitable[bool]] = coordinator._do_heartbeat

    async def noted() -> bool:
        is_good = await heartbeat()
        if is_good:
            answered()
        return is_good

    coordinator._do_heartbeat = noted


def has_ended(consumer: Any) -> bool:
    """Whether one of the consumer's internal tasks has ended: it then returns no more records, and raises nothing."""
    return consumer._coordinator._coordination_task.done() or consumer._fetcher._fetch_task.done()


def sticky_assignor() -> type[StickyPartitionAssignor]:
    """An assignor class for one member: aiokafka keeps state on the class, which two members in a process would share."""

    class MemberAssignor(StickyPartitionAssignor):
        member_assignment = None
        generation = StickyPartitionAssignor.DEFAULT_GENERATION_ID
        _latest_partition_movements = None

    return MemberAssignor


# ---- closing without the broker. `stop` waits for a broker that may be away.


async def abandon_consumer(consumer: AIOKafkaConsumer) -> None:
    """Closes a consumer whose `stop` did not finish in time: first its tasks, then its connections."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task"):
        task: Any = getattr(coordinator, name, None)
        if task is not None:
            task.cancel()
    if fetcher is not None:
        for task in fetcher._pending_tasks:
            task.cancel()
        await close_within_timeout(fetcher.close())
    await close_within_timeout(consumer._client.close())


async def abandon_producer(producer: AIOKafkaProducer) -> None:
    """Closes a producer without waiting for its unsent records; their futures fail with `ProducerClosed`."""
    accumulator: Any = producer._message_accumulator
    accumulator.fail_all(kafka.ProducerClosed())
    try:
        is_stopped = await close_within_timeout(producer.stop())
    except Exception as error:  # noqa: BLE001  # `stop` raises whatever ended the sender task; the producer is discarded
        log.warning("producer closed after an internal error", why=repr(error))
        is_stopped = False
    if not is_stopped:
        sender: Any = producer._sender
        with suppress(Exception):
            await close_within_timeout(sender.close())
        await close_within_timeout(producer.client.close())
