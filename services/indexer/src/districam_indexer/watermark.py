"""Copies the watermarks of the recorders' commits to the index once all that was announced before is applied."""

from collections.abc import Iterable, Mapping, Sequence

from districam_common.contract import names
from districam_common.index.redis_client import RedisUnavailable
from districam_common.kafka.consumer import KafkaInspector, Partition
from districam_common.kafka.marks import Mark
from districam_common.runtime.service import retry_dependency
from districam_indexer.consumer import Consumer
from districam_indexer.core.progress import (
    TopicPartition,
    advanced_watermarks,
    announcement_partitions,
    parse_commit_watermark_us,
)
from districam_indexer.dependencies import Dependencies
from districam_indexer.index_store.index_writer import IndexChanged


async def run(deps: Dependencies, consumer: Consumer) -> None:
    """Updates the watermarks of partitions whose announcements this replica indexes, every `progress_s`."""
    await retry_dependency(lambda: _run_loop(deps, consumer), deps.runtime, "kafka")


async def _run_loop(deps: Dependencies, consumer: Consumer) -> None:
    async with KafkaInspector.open(deps.settings.kafka, client_id=deps.runtime.instance) as inspector:
        while not deps.runtime.stopping.is_set():
            try:
                meta = await deps.index.meta()
                if meta is not None and meta.is_ready:
                    await update_watermarks(
                        deps, inspector, build=meta.build, partitions=meta.partitions, owned=consumer.segment_partitions
                    )
            except RedisUnavailable as error:
                deps.runtime.health.report_failing("redis", str(error))
            except IndexChanged:
                pass  # the next iteration reads the new index
            await deps.runtime.wait_stopping(deps.settings.indexer.progress_s)


async def update_watermarks(
    deps: Dependencies, inspector: KafkaInspector, *, build: str, partitions: int, owned: frozenset[int] | None = None
) -> None:
    """One update. Reads first the recorders' commits, then the topics' end offsets, then the applied offsets.

    A topic partition without its last applied record is another log; its end offset is ignored until it is
    read again.

    Args:
        deps: of the indexer.
        inspector: reads commits and offsets.
        build: the index to update.
        partitions: `fragments` partitions that the index was built for; does nothing if that has changed.
        owned: partitions of `segments`; reads only commits (4 KiB each) announced in these. None: all.

    Raises:
        IndexChanged, Retriable: nothing was written.
    """
    if owned is not None and not owned:
        return
    fragments = await inspector.partitions(names.FRAGMENTS)
    topic_partitions = [await inspector.partitions(topic) for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION)]
    if len(fragments) != partitions:
        return
    count = len(topic_partitions[0])
    owned_fragments = [one for one in fragments if owned is None or one.number % count in owned]
    announced_on = {partition for one in owned_fragments for partition in announcement_partitions(one.number, count)}
    committed = await _read_committed_watermarks(inspector, owned_fragments)
    ends = await inspector.end_offsets(
        [one for topic in topic_partitions for one in topic if tuple(one) in announced_on]
    )
    verified = await inspector.verified_partitions(_last_marks(ends, await deps.writer.read_marks()))
    ends = {partition: end for partition, end in ends.items() if partition in verified}
    await deps.writer.advance_watermarks(
        lambda applied, logged: advanced_watermarks(committed, {**ends}, applied, logged, count=count), build=build
    )


def _last_marks(
    partitions: Iterable[Partition], read_marks: Mapping[TopicPartition, Sequence[Mark]]
) -> dict[Partition, Mark | None]:
    """The mark of each partition's last applied record; None if unknown."""
    return {partition: next(iter(read_marks.get(partition, ())), None) for partition in partitions}


async def _read_committed_watermarks(inspector: KafkaInspector, fragments: Iterable[Partition]) -> dict[int, int]:
    commits = await inspector.committed(names.RECORDER_GROUP, fragments)
    watermarks = {
        p.number: parse_commit_watermark_us(commit.metadata) for p, commit in commits.items() if commit is not None
    }
    return {number: log_us for number, log_us in watermarks.items() if log_us is not None}
