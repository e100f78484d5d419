"""Follows `cameras`: every replica reads the whole topic and writes it to the index, which is idempotent.

The offsets written are in `dc1:applied`, in the same transaction as the data. If Redis restarts without its
last second, they are lower than what was written, and the topic is read from its start again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from districam_common.contract import names
from districam_common.index.redis_client import RedisUnavailable
from districam_common.kafka.consumer import Record, TopicReader
from districam_common.runtime.service import retry_dependency
from districam_indexer.apply import Applier
from districam_indexer.core.progress import TopicPartition
from districam_indexer.dependencies import Dependencies
from districam_indexer.index_store.index_state import is_writable
from districam_indexer.index_store.index_writer import IndexChanged

log = structlog.get_logger()

_POLL_INTERVAL_S = 1.0


@dataclass(slots=True)
class _WrittenOffsets:
    """The index that is written, and the next offset of each partition with applied records."""

    build: str
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])


async def run(deps: Dependencies) -> None:
    """Runs until the service stops; reads the topic again after Kafka errors and for each new index."""
    while not deps.runtime.stopping.is_set():
        await retry_dependency(lambda: _follow(deps), deps.runtime, "kafka")


async def _follow(deps: Dependencies) -> None:
    """Reads from the start of the topic until the service stops or the index changes."""
    build = await _wait_usable_build(deps)
    async with TopicReader.open(deps.settings.kafka, [names.CAMERAS], client_id=deps.runtime.instance) as reader:
        applier, written = Applier(deps), _WrittenOffsets(build)
        while not deps.runtime.stopping.is_set():
            records = await reader.read_all()
            deps.runtime.health.report_ok("kafka")
            try:
                await _write(deps, applier, written, records)
            except IndexChanged as change:
                log.warning("camera records are read again", why=str(change))
                return
            await deps.runtime.wait_stopping(_POLL_INTERVAL_S)


async def _wait_usable_build(deps: Dependencies) -> str:
    """Waits for a writable index and returns its build; empty if the service stops first."""
    while not deps.runtime.stopping.is_set():
        try:
            meta = await deps.index.meta()
        except RedisUnavailable as error:
            deps.runtime.health.report_failing("redis", str(error))
        else:
            if meta is not None and is_writable(meta):
                return meta.build
        await deps.runtime.wait_stopping(_POLL_INTERVAL_S)
    return ""


async def _write(deps: Dependencies, applier: Applier, written: _WrittenOffsets, records: Sequence[Record]) -> None:
    """Writes the records in batches, then verifies that the index still holds everything written.

    Raises:
        IndexChanged: it does not, or it is another index.
    """
    size = deps.settings.indexer.batch_records
    for batch in (*(records[n : n + size] for n in range(0, len(records), size)), ()):
        while not await _try_write(deps, applier, written, batch):
            if await deps.runtime.wait_stopping(_POLL_INTERVAL_S):
                return


async def _try_write(deps: Dependencies, applier: Applier, written: _WrittenOffsets, batch: Sequence[Record]) -> bool:
    after: dict[TopicPartition, int] = {(one.topic, one.partition): one.next_offset for one in batch}
    offset_changes = {partition: (written.next_offsets.get(partition, 0), at) for partition, at in after.items()}
    try:
        if batch:
            await applier.apply(batch, build=written.build, offset_changes=offset_changes)
            written.next_offsets.update(after)
        else:
            await deps.writer.verify_positions(written.next_offsets, build=written.build)
    except RedisUnavailable as error:
        deps.runtime.health.report_failing("redis", str(error))
        return False
    deps.runtime.health.report_ok("redis")
    return True
