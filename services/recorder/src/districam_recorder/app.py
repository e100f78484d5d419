"""Ties the recorder's parts together."""

import asyncio

from districam_common.contract import names
from districam_common.errors import Retriable
from districam_common.kafka.consumer import Member, Partition
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime, leaves, retrying
from districam_common.s3.blobs import Blobs
from districam_recorder.consume import Consumption
from districam_recorder.locking import Locking
from districam_recorder.settings import Settings
from districam_recorder.store import Place, Store

PARTITION_FETCH_BYTES = 2 << 20
"""Prefetching takes up to 2.6 times this for each partition. A larger record comes alone (KIP-74)."""


async def run(settings: Settings, runtime: Runtime) -> None:
    """Records until asked to stop.

    Raises:
        Fatal: the bucket belongs to another site, or the store or the broker refuses us.
    """
    runtime.health.needs("kafka", "s3")
    async with (
        Blobs.open(settings.s3) as blobs,
        Publisher.open(settings.kafka, f"{runtime.instance}-recorder") as publisher,
    ):
        await retrying(lambda: blobs.check_site(settings.site), runtime, "s3")
        place = Place(site=settings.site, bucket=settings.s3.bucket)
        lock_us = settings.recorder.lock_us if settings.s3.object_lock else 0
        locking = await retrying(lambda: Locking.begun(blobs, runtime, lock_us), runtime, "s3")
        store = Store(blobs, publisher, runtime, place, locking, uploads=settings.recorder.uploads)
        await retrying(lambda: _consume(settings, runtime, store), runtime, "kafka")


async def _consume(settings: Settings, runtime: Runtime, store: Store) -> None:
    """Records as one member of the group; Retriable while the broker or a topic is not there."""

    async def assigned(taken: frozenset[Partition]) -> None:
        await consumption.assigned(taken)

    async def revoked(lost: frozenset[Partition]) -> None:
        await consumption.revoked(lost)

    member = Member.open(
        settings.kafka,
        names.RECORDER_GROUP,
        [names.FRAGMENTS],
        f"{runtime.instance}-recorder",
        on_assigned=assigned,
        on_revoked=revoked,
        clock=runtime.clock,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
    )
    try:
        async with member as joined, asyncio.TaskGroup() as tasks:
            consumption = Consumption(joined, store, tasks, settings, runtime)
            await consumption.run()
    except* Retriable as group:  # alone, it may be repeated
        raise leaves(group)[0] from group
