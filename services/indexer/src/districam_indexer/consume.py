"""Follows `segments`, `streams`, `retention` and `keyframes` as a member of the group, and writes what they say.

Where to go on stands in Redis, in the same transaction as the index (`dc1:applied`); what is committed to Kafka is for
lag monitors only. Whatever goes wrong, the member loses its place, and takes it up again from there.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from districam_common.contract import names
from districam_common.errors import Rejected, Retriable
from districam_common.index.redis_door import RedisAway
from districam_common.kafka.consumer import Committed, FellOff, Member, Partition, Record
from districam_common.kafka.marks import Mark, climbed
from districam_common.kafka.records import last_mark
from districam_indexer.apply import Applier
from districam_indexer.core.progress import is_checked, position
from districam_indexer.doors import Doors
from districam_indexer.index_state import is_usable
from districam_indexer.index_writer import IndexChanged

log = structlog.get_logger()

TOPICS = (names.SEGMENTS, names.STREAMS, names.RETENTION, names.KEYFRAMES)
_POLL_S = 0.5
_COMMIT_EVERY_US = 5_000_000
_CONFIRM_EVERY_US = 1_000_000
"""An index that nothing is written to could be emptied or set back unnoticed."""
_FAILURES = 20
"""Troubles with Kafka in a row, half a second apart, before the membership is begun anew."""


@dataclass(slots=True)
class _Standing:
    """Which index is being written, and the next offset of each partition; none when that must be looked up.

    `read`: which records were read before it, the last one first.
    """

    build: str = ""
    next: dict[Partition, int] = field(default_factory=dict[Partition, int])
    read: dict[Partition, tuple[Mark, ...]] = field(default_factory=dict[Partition, tuple[Mark, ...]])


class Consumption:
    """One membership at a time."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._applier = Applier(doors)
        self._standing = _Standing()
        self._owned: frozenset[Partition] = frozenset()
        self._committed_us = 0
        self._confirmed_us = 0
        self._failures = 0

    @property
    def segment_partitions(self) -> frozenset[int]:
        """Partitions of `segments` that are this replica's: it reports on their cameras."""
        return frozenset(p.number for p in self._owned if p.topic == names.SEGMENTS)

    async def run(self) -> None:
        """From joining the group until the service stops.

        Raises:
            Retriable: the membership must be begun anew.
        """
        settings, runtime = self._doors.settings, self._doors.runtime

        async def on_assigned(partitions: frozenset[Partition]) -> None:
            self._owned = partitions
            for partition in partitions:
                member.seek(partition, 0)
            self._lose_place(member)

        async def on_revoked(_: frozenset[Partition]) -> None:
            self._owned = frozenset()
            self._standing = _Standing()

        async with Member.open(
            settings.kafka,
            names.INDEXER_GROUP,
            TOPICS,
            runtime.instance,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
            clock=runtime.clock,
        ) as member:
            while not runtime.stopping.is_set():
                await self._guarded_turn(member)
            with suppress(Retriable):
                await self._commit(member)

    async def _guarded_turn(self, member: Member) -> None:
        """A turn; what goes wrong costs the place, no more."""
        health = self._doors.runtime.health
        try:
            await self._turn(member)
        except IndexChanged as change:
            log.warning("place in the index lost", why=str(change))
        except FellOff as fell:
            log.warning("place in the log lost", why=str(fell))
        except RedisAway as error:
            health.failing("redis", str(error))
        except Rejected as error:
            log.error("records not indexed", why=str(error))
        except Retriable as error:
            health.failing("kafka", str(error))
            self._failures += 1
            if self._failures >= _FAILURES:
                raise
        else:
            return
        self._lose_place(member)
        await self._doors.runtime.stops_within(_POLL_S)

    async def _turn(self, member: Member) -> None:
        if self._owned and not self._standing.next:
            await self._find_place(member)
        records = await member.poll(timeout_s=_POLL_S, max_records=self._doors.settings.indexer.batch_records)
        self._doors.runtime.health.ok("kafka")
        self._failures = 0
        ours = {partition: some for partition, some in records.items() if partition in self._standing.next}
        if ours:
            await self._write(ours)
            self._doors.runtime.health.ok("redis")
        now_us = self._doors.runtime.clock.monotonic_us()
        if now_us - self._confirmed_us > _CONFIRM_EVERY_US:
            await self._confirm()
        if now_us - self._committed_us > _COMMIT_EVERY_US:
            await self._commit(member)

    def _lose_place(self, member: Member) -> None:
        self._standing = _Standing()
        member.pause(self._owned)

    async def _find_place(self, member: Member) -> None:
        """Reading goes on where the index ends. Not while nobody knows of an index: then it waits for the rebuild."""
        meta = await self._doors.index.meta()
        self._doors.runtime.health.ok("redis")
        if meta is None or not is_usable(meta):
            return
        applied = await self._doors.writer.applied()
        read = await self._doors.writer.marks()
        firsts, ends = await member.beginnings(self._owned), await member.ends(self._owned)
        asked = {p: read[p] for p in self._owned if p in read and is_checked(read[p], firsts[p])}
        left = await member.surviving(asked)
        found: dict[Partition, int] = {}
        known: dict[Partition, tuple[Mark, ...]] = {}
        for p in self._owned:
            found[p] = _place_of(p, applied.get(p), (firsts[p], ends[p]), read.get(p, ()), left.get(p))
            known[p] = tuple(mark for mark in read.get(p, ()) if mark.offset < found[p])
        new = {p: at for p, at in found.items() if p.topic != names.KEYFRAMES and applied.get(p) != at}
        await self._doors.writer.start_at(new, known, build=meta.build)
        for partition, offset in found.items():
            after = known[partition][0] if partition in asked and known[partition] else None
            member.seek(partition, offset, after=after)
        member.resume(self._owned)
        self._standing = _Standing(meta.build, found, known)
        self._applier = Applier(self._doors)
        log.info("place found", partitions=len(found), build=meta.build)

    async def _write(self, records: Mapping[Partition, Sequence[Record]]) -> None:
        standing = self._standing
        after = {partition: some[-1].next_offset for partition, some in records.items()}
        kept = {p: at for p, at in after.items() if p.topic != names.KEYFRAMES}
        lasts = {p: mark for p in kept if (mark := last_mark(records[p])) is not None}
        read = {p: climbed(standing.read.get(p, ()), mark) for p, mark in lasts.items()}
        await self._applier.apply(
            (record for some in records.values() for record in some),
            build=standing.build,
            moves={p: (standing.next[p], at) for p, at in kept.items()},
            read={**read},
        )
        standing.next.update(after)
        standing.read.update(read)

    async def _confirm(self) -> None:
        self._confirmed_us = self._doors.runtime.clock.monotonic_us()
        written = {p: at for p, at in self._standing.next.items() if p.topic != names.KEYFRAMES}
        if written:
            await self._doors.writer.confirm({**written}, build=self._standing.build)

    async def _commit(self, member: Member) -> None:
        self._committed_us = self._doors.runtime.clock.monotonic_us()
        if self._standing.next:
            await member.commit({p: Committed(at, "") for p, at in self._standing.next.items()})


def _place_of(
    partition: Partition,
    stated: int | None,
    extent: tuple[int, int],
    read: Sequence[Mark],
    survivor: Mark | None,
) -> int:
    """The newest still is enough; of the others everything is. `extent`: the log's first offset, and its next."""
    first, end = extent
    if partition.topic == names.KEYFRAMES:
        return end
    offset, wrong = position(stated, first, end, read=read, survivor=survivor)
    if wrong:
        log.error("records missing", topic=partition.topic, partition=partition.number, why=wrong)
    return offset
