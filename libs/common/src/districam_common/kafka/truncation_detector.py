"""Detects that a log was truncated after it was read, even if it has grown again since.

A log loses its tail only when its leader fails: it stopped before everything was on disk, or a replica without all
records took over. Either way the connection to the leader is a new one afterwards. So records from a new connection
are returned only after the last records before them have been verified.
"""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import is_

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from districam_common.kafka import internals, offsets
from districam_common.kafka.connection import client_arguments, translate_errors
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Partition, Record, mark_of
from districam_common.runtime.settings import KafkaSettings

RecordLookup = Callable[[Mapping[Partition, int]], Awaitable[Mapping[Partition, Record | None]]]
"""Partition → offset, to partition → record at that offset, None if there is none; without logs that begin later."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """Partitions verified over these connections; a cache, since readers check several times a second."""

    connections: Sequence[object]
    partitions: frozenset[Partition]

    def covers(self, seen: Sequence[object], partitions: Mapping[Partition, object]) -> bool:
        """Whether the connections are the same objects, and all of these partitions are verified."""
        return (
            len(seen) == len(self.connections)
            and all(map(is_, seen, self.connections))
            and partitions.keys() <= self.partitions
        )


class TruncationDetector:
    """Keeps, per partition of one consumer, the last record returned and the connection over which it was verified."""

    def __init__(self, consumer: AIOKafkaConsumer, lookup: RecordLookup) -> None:
        self._consumer = consumer
        self._lookup = lookup
        self._last_marks: dict[Partition, Mark] = {}
        self._connections: dict[Partition, object] = {}
        self._truncated: set[Partition] = set()
        self._verified: _Verified | None = None

    def reset(self) -> None:
        """Forgets all partitions, after a rebalance."""
        self._last_marks, self._connections, self._truncated, self._verified = {}, {}, set(), None

    def report_seek(self, partition: Partition, after: Mark | None) -> None:
        """Records a seek; if `after` is given, the log must contain that record."""
        self._verified = None
        self._truncated.discard(partition)
        self._connections.pop(partition, None)
        self._last_marks.pop(partition, None)
        if after is not None:
            self._last_marks[partition] = after

    def is_verified(self, partition: Partition) -> bool:
        """Whether the current leader's log is verified to contain the last record returned."""
        connection = self._leader_connection(partition)
        return connection is not None and self._connections.get(partition) is connection

    async def truncated_partitions(
        self, owned: Iterable[Partition], got: Mapping[Partition, Sequence[Record]]
    ) -> set[Partition]:
        """The partitions whose log lacks the last record returned or the last of `got`; they stay so until sought.

        If there are none, `got` counts as returned.

        Raises:
            Retriable: that cannot be verified at present; `got` must not be returned.
        """
        connections = internals.connections(self._consumer)
        if self._verified is not None and self._verified.covers(connections, got):
            self._update_last_marks(got)
            return set()
        leader_connections = {partition: self._leader_connection(partition) for partition in {*owned, *got}}
        unverified = {
            p
            for p, connection in leader_connections.items()
            if connection is None or self._connections.get(p) is not connection
        }
        unverified -= self._truncated | {
            p for p in unverified if leader_connections[p] is None and p not in got
        }  # without a leader and without records, there is nothing to verify
        before = {p: self._last_marks[p] for p in unverified if p in self._last_marks}
        latest = {p: mark for p in unverified if (mark := _end_mark(got.get(p, ()))) is not None}
        for asked in (before, latest):
            self._truncated |= await self._find_truncated(asked)
        self._connections |= {p: leader_connections[p] for p in unverified - self._truncated}
        if self._truncated:
            return set(self._truncated)
        self._verified = _Verified(
            connections, frozenset(p for p, line in leader_connections.items() if line is not None)
        )
        self._update_last_marks(got)
        return set()

    def _update_last_marks(self, got: Mapping[Partition, Sequence[Record]]) -> None:
        self._last_marks |= {p: mark for p, some in got.items() if (mark := _end_mark(some)) is not None}

    async def _find_truncated(self, marks: Mapping[Partition, Mark]) -> set[Partition]:
        if not marks:
            return set()
        found = await self._lookup({partition: mark.offset for partition, mark in marks.items()})
        return {p for p, record in found.items() if not matches(marks[p], record)}

    def _leader_connection(self, partition: Partition) -> object | None:
        """The connection to the partition's leader, if there is one."""
        return internals.connection_to_leader(self._consumer, partition)


def _end_mark(records: Sequence[Record]) -> Mark | None:
    """The mark of the last record that was in the log, unreadable ones included; None if there is none.

    An unreadable one counts as still there while nothing readable has its offset.
    """
    return next((mark_of(record) for record in reversed(records) if record.is_lost or not record.problem), None)


def matches(mark: Mark, found: Record | None) -> bool:
    """Whether the record found at the mark's offset is the one that was marked."""
    return found is not None and mark_of(found) == mark


async def first_surviving_marks(
    asked: Mapping[Partition, Sequence[Mark]], lookup: RecordLookup
) -> dict[Partition, Mark | None]:
    """The first of each partition's marks that its log still contains; None if it contains none. Raises Retriable."""
    out: dict[Partition, Mark | None] = dict.fromkeys(asked)
    left = {partition: list(marks) for partition, marks in asked.items()}
    while trying := {partition: marks.pop(0) for partition, marks in left.items() if marks}:
        found = await lookup({partition: mark.offset for partition, mark in trying.items()})
        out |= {p: mark for p, mark in trying.items() if matches(mark, found.get(p))}
        left = {p: marks for p, marks in left.items() if out[p] is None}
    return out


async def read_records_at(
    settings: KafkaSettings, asked: Mapping[Partition, int], client_id: str
) -> dict[Partition, Record | None]:
    """Reads the records at these offsets over a separate connection; None where the log has none.

    Left out: partitions whose log begins after the offset, and those where the record is unreadable.

    Raises:
        Retriable: the broker does not answer.
        Fatal: the broker rejected the authentication.
    """
    timeout_s = settings.request_timeout_s
    raw = AIOKafkaConsumer(**client_arguments(settings, client_id), enable_auto_commit=False, auto_offset_reset="none")
    async with offsets.open_consumer(raw, settings) as consumer:
        firsts = await offsets.beginning_offsets(consumer, asked, timeout_s)
        ends = await offsets.end_offsets(consumer, asked, timeout_s)
        there = {p: offset for p, offset in asked.items() if firsts[p] <= offset < ends[p]}
        out: dict[Partition, Record | None] = {p: None for p, offset in asked.items() if offset >= firsts[p]}
        if there:
            consumer.assign(offsets.to_topic_partitions(there))
            for partition, offset in there.items():
                consumer.seek(TopicPartition(*partition), offset)
        for partition in there:
            found = await _read_next(consumer, partition, timeout_s)
            if found is not None and found.problem:
                del out[partition]
            else:
                out[partition] = found
    return out


async def _read_next(consumer: AIOKafkaConsumer, partition: Partition, timeout_s: float) -> Record | None:
    with translate_errors(f"verifying records of {partition.topic}"):
        try:
            async with asyncio.timeout(timeout_s):
                return offsets.to_record(await consumer.getone(TopicPartition(*partition)))
        except kafka.OffsetOutOfRangeError:
            return None
