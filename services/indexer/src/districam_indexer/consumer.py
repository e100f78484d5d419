"""Consumes `segments`, `streams`, `retention` and `keyframes` as a member of the group; writes the index.

The applied offsets are in Redis, in the same transaction as the index (`dc1:applied`); commits to Kafka are
for lag monitors only. After any error the member drops its position and restores it from Redis.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from districam_common.contract import names
from districam_common.errors import Rejected, Retriable
from districam_common.index.redis_client import RedisUnavailable
from districam_common.kafka.consumer import Committed, GroupConsumer, OffsetOutOfRange, Partition, Record
from districam_common.kafka.marks import Mark, add_mark
from districam_common.kafka.records import last_mark
from districam_indexer.apply import Applier
from districam_indexer.core.progress import is_verifiable, resume_offset
from districam_indexer.dependencies import Dependencies
from districam_indexer.index_store.index_state import is_writable
from districam_indexer.index_store.index_writer import IndexChanged

log = structlog.get_logger()

TOPICS = (names.SEGMENTS, names.STREAMS, names.RETENTION, names.KEYFRAMES)
_POLL_TIMEOUT_S = 0.5
_COMMIT_INTERVAL_US = 5_000_000
_VERIFY_INTERVAL_US = 1_000_000
"""Interval between checks that the index was not emptied or set back: on idle topics no write would notice."""
_MAX_FAILURES = 20
"""Consecutive Kafka errors, half a second apart, after which the member rejoins the group."""


@dataclass(slots=True)
class _Position:
    """The index that is written, and the next offset of each partition; empty: to be restored from the index.

    `read_marks`: marks of the records read before it, the last one first.
    """

    build: str = ""
    next_offsets: dict[Partition, int] = field(default_factory=dict[Partition, int])
    read_marks: dict[Partition, tuple[Mark, ...]] = field(default_factory=dict[Partition, tuple[Mark, ...]])


class Consumer:
    """A member of the indexer's consumer group."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._applier = Applier(deps)
        self._position = _Position()
        self._owned: frozenset[Partition] = frozenset()
        self._committed_us = 0
        self._verified_us = 0
        self._failures = 0

    @property
    def segment_partitions(self) -> frozenset[int]:
        """This replica's partitions of `segments`: those whose cameras its other loops handle."""
        return frozenset(p.number for p in self._owned if p.topic == names.SEGMENTS)

    async def run(self) -> None:
        """Joins the group and consumes until the service stops.

        Raises:
            Retriable: the member must rejoin.
        """
        settings, runtime = self._deps.settings, self._deps.runtime

        async def on_assigned(partitions: frozenset[Partition]) -> None:
            self._owned = partitions
            for partition in partitions:
                group_consumer.seek(partition, 0)
            self._discard_position(group_consumer)

        async def on_revoked(_: frozenset[Partition]) -> None:
            self._owned = frozenset()
            self._position = _Position()

        async with GroupConsumer.open(
            settings.kafka,
            names.INDEXER_GROUP,
            TOPICS,
            runtime.instance,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
            clock=runtime.clock,
        ) as group_consumer:
            while not runtime.stopping.is_set():
                await self._run_once_guarded(group_consumer)
            with suppress(Retriable):
                await self._commit(group_consumer)

    async def _run_once_guarded(self, group_consumer: GroupConsumer) -> None:
        """Runs one turn; an error discards the position only.

        Raises:
            Retriable: the limit of consecutive Kafka errors is reached.
        """
        health = self._deps.runtime.health
        try:
            await self._run_once(group_consumer)
        except IndexChanged as change:
            log.warning("index changed: position discarded", why=str(change))
        except OffsetOutOfRange as error:
            log.warning("offset out of range: position discarded", why=str(error))
        except RedisUnavailable as error:
            health.report_failing("redis", str(error))
        except Rejected as error:
            log.error("records not indexed", why=str(error))
        except Retriable as error:
            health.report_failing("kafka", str(error))
            self._failures += 1
            if self._failures >= _MAX_FAILURES:
                raise
        else:
            return
        self._discard_position(group_consumer)
        await self._deps.runtime.wait_stopping(_POLL_TIMEOUT_S)

    async def _run_once(self, group_consumer: GroupConsumer) -> None:
        if self._owned and not self._position.next_offsets:
            await self._restore_position(group_consumer)
        records = await group_consumer.poll(
            timeout_s=_POLL_TIMEOUT_S, max_records=self._deps.settings.indexer.batch_records
        )
        self._deps.runtime.health.report_ok("kafka")
        self._failures = 0
        assigned = {partition: some for partition, some in records.items() if partition in self._position.next_offsets}
        if assigned:
            await self._write(assigned)
            self._deps.runtime.health.report_ok("redis")
        now_us = self._deps.runtime.clock.monotonic_us()
        if now_us - self._verified_us > _VERIFY_INTERVAL_US:
            await self._verify_positions()
        if now_us - self._committed_us > _COMMIT_INTERVAL_US:
            await self._commit(group_consumer)

    def _discard_position(self, group_consumer: GroupConsumer) -> None:
        self._position = _Position()
        group_consumer.pause(self._owned)

    async def _restore_position(self, group_consumer: GroupConsumer) -> None:
        """Seeks to the applied offsets of the index. Does nothing while no index is writable."""
        meta = await self._deps.index.meta()
        self._deps.runtime.health.report_ok("redis")
        if meta is None or not is_writable(meta):
            return
        applied = await self._deps.writer.read_positions()
        read_marks = await self._deps.writer.read_marks()
        beginning_offsets, end_offsets = (
            await group_consumer.beginning_offsets(self._owned),
            await group_consumer.end_offsets(self._owned),
        )
        verifiable = {
            p: read_marks[p]
            for p in self._owned
            if p in read_marks and is_verifiable(read_marks[p], beginning_offsets[p])
        }
        survivors = await group_consumer.first_surviving_marks(verifiable)
        next_offsets: dict[Partition, int] = {}
        known_marks: dict[Partition, tuple[Mark, ...]] = {}
        for p in self._owned:
            next_offsets[p] = _resume_offset(
                p, applied.get(p), (beginning_offsets[p], end_offsets[p]), read_marks.get(p, ()), survivors.get(p)
            )
            known_marks[p] = tuple(mark for mark in read_marks.get(p, ()) if mark.offset < next_offsets[p])
        changed = {p: at for p, at in next_offsets.items() if p.topic != names.KEYFRAMES and applied.get(p) != at}
        await self._deps.writer.set_positions(changed, known_marks, build=meta.build)
        for partition, offset in next_offsets.items():
            after = known_marks[partition][0] if partition in verifiable and known_marks[partition] else None
            group_consumer.seek(partition, offset, after=after)
        group_consumer.resume(self._owned)
        self._position = _Position(meta.build, next_offsets, known_marks)
        self._applier = Applier(self._deps)
        log.info("position restored from the index", partitions=len(next_offsets), build=meta.build)

    async def _write(self, records: Mapping[Partition, Sequence[Record]]) -> None:
        position = self._position
        next_offsets = {partition: some[-1].next_offset for partition, some in records.items()}
        persisted = {p: at for p, at in next_offsets.items() if p.topic != names.KEYFRAMES}
        last_marks = {p: mark for p in persisted if (mark := last_mark(records[p])) is not None}
        read_marks = {p: add_mark(position.read_marks.get(p, ()), mark) for p, mark in last_marks.items()}
        await self._applier.apply(
            (record for some in records.values() for record in some),
            build=position.build,
            offset_changes={p: (position.next_offsets[p], at) for p, at in persisted.items()},
            read_marks={**read_marks},
        )
        position.next_offsets.update(next_offsets)
        position.read_marks.update(read_marks)

    async def _verify_positions(self) -> None:
        self._verified_us = self._deps.runtime.clock.monotonic_us()
        written = {p: at for p, at in self._position.next_offsets.items() if p.topic != names.KEYFRAMES}
        if written:
            await self._deps.writer.verify_positions({**written}, build=self._position.build)

    async def _commit(self, group_consumer: GroupConsumer) -> None:
        self._committed_us = self._deps.runtime.clock.monotonic_us()
        if self._position.next_offsets:
            await group_consumer.commit({p: Committed(at, "") for p, at in self._position.next_offsets.items()})


def _resume_offset(
    partition: Partition,
    applied: int | None,
    offset_range: tuple[int, int],
    read_marks: Sequence[Mark],
    survivor: Mark | None,
) -> int:
    """The offset to resume at: the log's end for `keyframes` (only new stills matter), else the applied one.

    `offset_range`: the log's first offset and its end offset.
    """
    beginning_offset, end_offset = offset_range
    if partition.topic == names.KEYFRAMES:
        return end_offset
    offset, problem = resume_offset(applied, beginning_offset, end_offset, read_marks=read_marks, survivor=survivor)
    if problem:
        log.error("log does not match the index", topic=partition.topic, partition=partition.number, why=problem)
    return offset
