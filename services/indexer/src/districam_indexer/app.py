"""The indexer, put together: each loop has its task; one that fails ends the process, and whoever runs it starts it again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from redis.asyncio import Redis

from districam_common.contract.names import rfc3339
from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_door import open_redis
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime, retrying
from districam_common.s3 import cutover
from districam_common.s3.vault import Vault
from districam_indexer import cameras, logged, rebuild
from districam_indexer.consume import Consumption
from districam_indexer.core.holding import Arrivals
from districam_indexer.doors import Doors
from districam_indexer.dropping import Dropper
from districam_indexer.gauges import Gauges
from districam_indexer.holding import Holding
from districam_indexer.index_state import IndexState
from districam_indexer.index_writer import IndexWriter
from districam_indexer.retention import Retention
from districam_indexer.settings import Settings
from districam_indexer.usage import Usage

log = structlog.get_logger()

_LOOK_EVERY_S = 0.5


async def main(settings: Settings, runtime: Runtime) -> None:
    """Indexes until asked to stop; rebuilds by itself where there is no index."""
    await _run(settings, runtime, anew=False)


async def rebuild_once(settings: Settings, runtime: Runtime) -> None:
    """Makes a new index, also where there is one, and stops."""
    await _run(settings, runtime, anew=True)


async def _run(settings: Settings, runtime: Runtime, *, anew: bool) -> None:
    runtime.health.needs("kafka", "redis", "s3", "index")
    async with AsyncExitStack() as stack:
        vault = await stack.enter_async_context(Vault.open(settings.s3))
        await retrying(lambda: vault.check_site(settings.site), runtime, "s3")
        redis = await stack.enter_async_context(open_redis(settings.redis))
        until_us = await _streams_until_us(runtime, vault, IndexReader(redis))
        doors = await stack.enter_async_context(_doors(settings, runtime, vault, redis, until_us))
        consumption = Consumption(doors)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rebuild.run(doors, vault, anew=anew))
            tasks.create_task(retrying(consumption.run, runtime, "kafka"))
            tasks.create_task(cameras.run(doors))
            tasks.create_task(logged.run(doors, consumption))
            tasks.create_task(Gauges(doors, consumption).run())
            if anew:
                tasks.create_task(_stop_when_ready(runtime))
            else:
                tasks.create_task(Retention(doors, consumption, Usage(redis, doors.writer, runtime)).run())
                tasks.create_task(Holding(doors, consumption, redis).run())


async def _streams_until_us(runtime: Runtime, vault: Vault, index: IndexReader) -> int:
    """Up to when `expired` counts on `streams`; of a site that an earlier version has made, it is settled here, once.

    A host's clock that is behind the recorders' progress must not end what other indexers of that version say.
    """
    found = await retrying(lambda: cutover.read(vault), runtime, "s3")
    if found is None:
        logged = await retrying(index.logged, runtime, "redis")
        until_us = max(runtime.clock.now_us(), *logged.values(), 0) + cutover.GRACE_US
        found = await retrying(lambda: cutover.settle(vault, until_us), runtime, "s3")
        log.info("expired moves to its own topic", streams_until=rfc3339(found.streams_until_us))
    return found.streams_until_us


async def _stop_when_ready(runtime: Runtime) -> None:
    while not runtime.health.is_ready:
        if await runtime.stops_within(_LOOK_EVERY_S):
            return
    runtime.stopping.set()


@asynccontextmanager
async def _doors(
    settings: Settings, runtime: Runtime, vault: Vault, redis: Redis, streams_until_us: int
) -> AsyncGenerator[Doors]:
    async with Publisher.open(settings.kafka, runtime.instance) as publisher:
        writer = IndexWriter(redis, still_ttl_s=settings.indexer.still_ttl_s)
        yield Doors(
            settings, runtime, publisher, IndexReader(redis), writer, IndexState(redis), Dropper(redis, writer), vault, Arrivals(),
            streams_until_us,
        )  # fmt: skip
