"""Builds the recorder from its parts and runs it."""

import asyncio

from districam_common.contract import names
from districam_common.errors import Retriable
from districam_common.kafka.consumer import GroupConsumer, Partition
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime, leaf_errors, retry_dependency
from districam_common.s3.blobs import Blobs
from districam_recorder.consumer import Consumer
from districam_recorder.effect_executor import BucketTarget, EffectExecutor
from districam_recorder.lock_policy import LockPolicy
from districam_recorder.settings import Settings

MAX_PARTITION_FETCH_BYTES = 2 << 20
"""Prefetching takes up to 2.6 times this for each partition. A larger record is returned alone (KIP-74)."""


async def run(settings: Settings, runtime: Runtime) -> None:
    """Records until asked to stop.

    Raises:
        Fatal: the bucket belongs to another site, or the store or the broker refuses our credentials.
    """
    runtime.health.declare("kafka", "s3")
    async with (
        Blobs.open(settings.s3) as blobs,
        Publisher.open(settings.kafka, f"{runtime.instance}-recorder") as publisher,
    ):
        await retry_dependency(lambda: blobs.require_site(settings.site), runtime, "s3")
        target = BucketTarget(site=settings.site, bucket=settings.s3.bucket)
        lock_us = settings.recorder.lock_us if settings.s3.object_lock else 0
        lock_policy = await retry_dependency(lambda: LockPolicy.create(blobs, runtime, lock_us), runtime, "s3")
        executor = EffectExecutor(blobs, publisher, runtime, target, lock_policy, uploads=settings.recorder.uploads)
        await retry_dependency(lambda: _consume(settings, runtime, executor), runtime, "kafka")


async def _consume(settings: Settings, runtime: Runtime, executor: EffectExecutor) -> None:
    """Runs one membership of the consumer group.

    Raises:
        Retriable: the broker or the topic is not available.
    """

    async def on_assigned(partitions: frozenset[Partition]) -> None:
        await consumer.on_assigned(partitions)

    async def on_revoked(partitions: frozenset[Partition]) -> None:
        await consumer.on_revoked(partitions)

    group_consumer = GroupConsumer.open(
        settings.kafka,
        names.RECORDER_GROUP,
        [names.FRAGMENTS],
        f"{runtime.instance}-recorder",
        on_assigned=on_assigned,
        on_revoked=on_revoked,
        clock=runtime.clock,
        max_partition_fetch_bytes=MAX_PARTITION_FETCH_BYTES,
    )
    try:
        async with group_consumer as joined, asyncio.TaskGroup() as tasks:
            consumer = Consumer(joined, executor, tasks, settings, runtime)
            await consumer.run()
    except* Retriable as group:  # unwrapped: `retry_dependency` catches the error, not the group
        raise leaf_errors(group)[0] from group
