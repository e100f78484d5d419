"""Whether the log that is read is still the one that was read: a tail may have been lost, and grown again.

A log loses its tail only with its leader: that one stopped without having written everything to its disk, or another
took over that did not have everything. Either way the connection to the leader is another one afterwards. So records
that come over another connection are given out only once the last ones before them are known to be where they were.
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
from districam_common.kafka.connection import arguments, translating
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Partition, Record, last_mark, mark_of
from districam_common.runtime.settings import KafkaSettings

Look = Callable[[Mapping[Partition, int]], Awaitable[Mapping[Partition, Record | None]]]
"""(partition → offset) → the record that the log has there, None for none; without those whose log begins later."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Over these connections nothing is left to look up of these partitions; a reader asks several times a second."""

    seen: Sequence[object]
    sure: frozenset[Partition]

    def holds_for(self, seen: Sequence[object], partitions: Mapping[Partition, object]) -> bool:
        """Whether they are the very same, and these partitions are among them."""
        return (
            len(seen) == len(self.seen) and all(map(is_, seen, self.seen)) and partitions.keys() <= self.sure
        )


class Continuity:
    """Of the partitions of one consumer: the last record that was given out, and the connection over which it came."""

    def __init__(self, consumer: AIOKafkaConsumer, look: Look) -> None:
        self._consumer = consumer
        self._look = look
        self._given: dict[Partition, Mark] = {}
        self._lines: dict[Partition, object] = {}
        self._torn: set[Partition] = set()
        self._known: _Known | None = None

    def forget(self) -> None:
        """All partitions: others may be owned from now on."""
        self._given, self._lines, self._torn, self._known = {}, {}, set(), None

    def sought(self, partition: Partition, after: Mark | None) -> None:
        """Reading goes on elsewhere; `after` must be in the log then, if given."""
        self._known = None
        self._torn.discard(partition)
        self._lines.pop(partition, None)
        self._given.pop(partition, None)
        if after is not None:
            self._given[partition] = after

    def is_sure(self, partition: Partition) -> bool:
        """Whether what was last given out is in the log that the leader answers from at this moment."""
        line = self._line(partition)
        return line is not None and self._lines.get(partition) is line

    async def torn(
        self, owned: Iterable[Partition], got: Mapping[Partition, Sequence[Record]]
    ) -> set[Partition]:
        """Which partitions' logs do not hold what was given out before, or what `got` holds; stays so until they are sought.

        If there is none, `got` counts as given out.

        Raises:
            Retriable: nobody can tell at present; `got` is not to be given out.
        """
        seen = internals.connections(self._consumer)
        if self._known is not None and self._known.holds_for(seen, got):
            self._give_out(got)
            return set()
        lines = {partition: self._line(partition) for partition in {*owned, *got}}
        unsure = {p for p, line in lines.items() if line is None or self._lines.get(p) is not line}
        unsure -= self._torn | {p for p in unsure if lines[p] is None and p not in got}  # nothing to decide
        before = {p: self._given[p] for p in unsure if p in self._given}
        latest = {p: mark for p in unsure if (mark := last_mark(got.get(p, ()))) is not None}
        for asked in (before, latest):
            self._torn |= await self._missing(asked)
        self._lines |= {p: lines[p] for p in unsure - self._torn}
        if self._torn:
            return set(self._torn)
        self._known = _Known(seen, frozenset(p for p, line in lines.items() if line is not None))
        self._give_out(got)
        return set()

    def _give_out(self, got: Mapping[Partition, Sequence[Record]]) -> None:
        self._given |= {p: mark for p, some in got.items() if (mark := last_mark(some)) is not None}

    async def _missing(self, marks: Mapping[Partition, Mark]) -> set[Partition]:
        if not marks:
            return set()
        found = await self._look({partition: mark.offset for partition, mark in marks.items()})
        return {p for p, record in found.items() if not is_there(marks[p], record)}

    def _line(self, partition: Partition) -> object | None:
        """The connection to the partition's leader, if there is one."""
        return internals.connection_to_leader(self._consumer, partition)


def is_there(mark: Mark, found: Record | None) -> bool:
    """Whether the record at the mark's offset is the one that it stands for."""
    return found is not None and mark_of(found) == mark


async def surviving(asked: Mapping[Partition, Sequence[Mark]], look: Look) -> dict[Partition, Mark | None]:
    """The first of each partition's marks that its log still holds; None for none of them. Raises Retriable."""
    out: dict[Partition, Mark | None] = dict.fromkeys(asked)
    left = {partition: list(marks) for partition, marks in asked.items()}
    while trying := {partition: marks.pop(0) for partition, marks in left.items() if marks}:
        found = await look({partition: mark.offset for partition, mark in trying.items()})
        out |= {p: mark for p, mark in trying.items() if is_there(mark, found.get(p))}
        left = {p: marks for p, marks in left.items() if out[p] is None}
    return out


async def records_at(
    settings: KafkaSettings, asked: Mapping[Partition, int], client_id: str
) -> dict[Partition, Record | None]:
    """The records at these offsets, over a connection of its own; None where the log has none.

    Partitions whose log begins later are left out, and those where the record cannot be read: it may be any.

    Raises:
        Retriable: the broker does not tell.
        Fatal: it refuses us.
    """
    timeout_s = settings.request_timeout_s
    raw = AIOKafkaConsumer(
        **arguments(settings, client_id), enable_auto_commit=False, auto_offset_reset="none"
    )
    async with offsets.connected(raw, settings) as consumer:
        firsts = await offsets.beginnings(consumer, asked, timeout_s)
        ends = await offsets.ends(consumer, asked, timeout_s)
        there = {p: offset for p, offset in asked.items() if firsts[p] <= offset < ends[p]}
        out: dict[Partition, Record | None] = {p: None for p, offset in asked.items() if offset >= firsts[p]}
        if there:
            consumer.assign(offsets.foreign(there))
            for partition, offset in there.items():
                consumer.seek(TopicPartition(*partition), offset)
        for partition in there:
            found = await _next(consumer, partition, timeout_s)
            if found is not None and found.problem:
                del out[partition]
            else:
                out[partition] = found
    return out


async def _next(consumer: AIOKafkaConsumer, partition: Partition, timeout_s: float) -> Record | None:
    with translating(f"looking back in {partition.topic}"):
        try:
            async with asyncio.timeout(timeout_s):
                return offsets.record_of(await consumer.getone(TopicPartition(*partition)))
        except kafka.OffsetOutOfRangeError:
            return None
