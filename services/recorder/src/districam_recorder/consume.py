"""The loop: records in from the group, effects out through the handlers, commits in rounds."""

import asyncio
from collections.abc import Container, Iterable, Mapping

import structlog

from districam_common.contract import names
from districam_common.errors import Retriable
from districam_common.kafka.consumer import (
    Committed,
    FellOff,
    Member,
    MembershipLost,
    Partition,
    Record,
)
from districam_common.runtime.service import Runtime, retrying
from districam_recorder import metrics
from districam_recorder.core import limits
from districam_recorder.core.broker_clock import BrokerClock
from districam_recorder.core.checkpoint import Checkpoint, parse
from districam_recorder.core.contact import Contact
from districam_recorder.core.partition_log import PartitionLog, Rules
from districam_recorder.handler import Handler, incoming
from districam_recorder.settings import Settings
from districam_recorder.store import Store

log = structlog.get_logger()

POLL_S = 0.2
AFTER_TROUBLE_S = 0.5


class Consumption:
    """This process's partitions. All but the effects runs in one task: `assigned` and `revoked` are called in its polls."""

    def __init__(
        self, member: Member, store: Store, tasks: asyncio.TaskGroup, settings: Settings, runtime: Runtime
    ) -> None:
        self._member = member
        self._store = store
        self._tasks = tasks
        self._settings = settings.recorder
        self._runtime = runtime
        self._rules = Rules(
            idle_us=int(settings.recorder.idle_s * 1e6),
            segment_max_bytes=settings.recorder.segment_max_bytes,
        )
        self._session_us = int(settings.kafka.session_timeout_s * 1e6)
        self._contacts: dict[int, Contact] = {}
        self._broker_clock = BrokerClock()
        self._handlers: dict[int, Handler] = {}
        self._dropped: set[int] = set()  # for want of memory; paused until there is room
        self._paused: set[int] = set()

    async def run(self) -> None:
        """Until asked to stop: then what is closed is stored, if that can be done soon, and committed."""
        next_round_us = 0
        while not self._runtime.stopping.is_set():
            await self._turn()
            now_us = self._runtime.clock.monotonic_us()
            if now_us >= next_round_us:
                next_round_us = now_us + int(self._settings.commit_interval_s * 1e6)
                await self._round()
        await self._drain()
        await self._round()
        await self.revoked(partitions(self._handlers))

    # ---- assignment

    async def assigned(self, taken: frozenset[Partition]) -> None:
        """Opens a handler for each partition, from its commit; without one, from the log's beginning."""
        starts = await retrying(lambda: self._starts(taken), self._runtime, "kafka")
        for partition, (committed, beginning) in starts.items():
            self._open(partition.number, self._log_from(partition, committed, beginning))

    async def revoked(self, lost: frozenset[Partition]) -> None:
        """Closes the handlers; nothing is committed."""
        for partition in lost:
            handler = self._handlers.pop(partition.number, None)
            if handler is not None:
                handler.close()
            self._dropped.discard(partition.number)
            self._paused.discard(partition.number)

    async def _starts(self, taken: frozenset[Partition]) -> dict[Partition, tuple[Committed | None, int]]:
        committed = await self._member.committed(taken)
        beginnings = await self._member.beginnings(taken)
        return {partition: (committed.get(partition), beginnings[partition]) for partition in taken}

    def _log_from(self, partition: Partition, committed: Committed | None, beginning: int) -> PartitionLog:
        offset, checkpoint = 0, Checkpoint()
        if committed is not None:
            offset, checkpoint = committed.offset, parse(committed.metadata)
        if checkpoint.log_us:
            self._see(partition, checkpoint.log_us, self._runtime.clock.monotonic_us())
        partition_log = PartitionLog(offset, checkpoint, self._rules)
        if offset < beginning:
            partition_log.falls(beginning)
        return partition_log

    def _open(self, number: int, partition_log: PartitionLog) -> None:
        self._handlers[number] = Handler(number, partition_log, self._store, self._tasks)
        self._seek(number)

    def _seek(self, number: int) -> None:
        partition_log = self._handlers[number].log
        partition = Partition(names.FRAGMENTS, number)
        self._member.seek(partition, partition_log.position, after=partition_log.last)

    # ---- reading

    async def _turn(self) -> None:
        try:
            await self._poll()
        except MembershipLost:
            raise
        except Retriable as error:
            self._runtime.health.failing("kafka", str(error))
            await asyncio.sleep(AFTER_TROUBLE_S)
            return
        self._read()
        self._pause()
        metrics.OPEN_BYTES.set(self._used())

    async def _poll(self) -> None:
        try:
            polled = await self._member.poll(timeout_s=POLL_S)
        except FellOff as error:
            await self._fell(error.partitions)
            return
        received_us = self._runtime.clock.monotonic_us()
        for partition, records in polled.items():
            self._take(partition, records, received_us)

    def _take(self, partition: Partition, records: list[Record], received_us: int) -> None:
        handler = self._handlers.get(partition.number)
        if handler is None or partition.number in self._dropped:
            return
        handler.backlog.extend(incoming(record, received_us) for record in records)
        self._see(partition, max(record.append_us for record in records), received_us)

    def _see(self, partition: Partition, append_us: int, received_us: int) -> None:
        if not append_us:
            return  # of what cannot be read nobody knows
        self._broker_clock.seen(append_us, received_us, self._member.leader(partition))

    async def _fell(self, asked: Mapping[Partition, int]) -> None:
        """The log does not have the positions asked for, or not what was read before them."""
        beginnings = await self._member.beginnings(asked)
        for partition, position in asked.items():
            handler = self._handlers.get(partition.number)
            if handler is None or handler.backlog or self._member.position(partition) != position:
                continue  # told of an earlier position, or too early: it is told again
            if position < beginnings[partition]:
                handler.log.falls(beginnings[partition])
            else:
                await self._go_back(handler, partition, beginnings[partition])
            self._seek(partition.number)

    async def _go_back(self, handler: Handler, partition: Partition, beginning: int) -> None:
        """The log lost its tail, or is another one: reads on behind what is left of it, and nothing is stored twice."""
        survivor = (await self._member.surviving({partition: handler.log.read}))[partition]
        was_at = handler.log.position
        handler.goes_back(survivor, beginning)
        log.error(
            "the log has lost what was read",
            partition=handler.number,
            position=was_at,
            goes_on_at=handler.log.position,
        )

    # ---- memory

    def _read(self) -> None:
        """Feeds the handlers what was polled, as far as memory allows."""
        for handler in self._handlers.values():
            if not self._read_backlog(handler):
                return

    def _read_backlog(self, handler: Handler) -> bool:
        """False: has to wait until something is stored."""
        while handler.backlog:
            if not handler.is_next:
                log.error("records left out", partition=handler.number, position=handler.log.position)
                handler.backlog.clear()
                self._seek(handler.number)
                break
            match self._step(handler):
                case limits.Read():
                    handler.read_next()
                case limits.Wait():
                    return False
                case limits.Drop(number):
                    self._drop(self._handlers[number])
                case limits.Close(number):
                    log.warning("memory full: a segment is closed early", partition=number)
                    self._handlers[number].close_largest()
        return True

    def _step(self, handler: Handler) -> limits.Step:
        size, limit = handler.backlog[0].bytes, self._settings.memory_limit_bytes
        if limits.fits(self._used(), size, limit):
            return limits.Read()
        return limits.step([one.holding() for one in self._handlers.values()], handler.number, size, limit)

    def _used(self) -> int:
        return sum(handler.log.bytes for handler in self._handlers.values())

    def _drop(self, handler: Handler) -> None:
        log.warning("memory full: a partition is paused", partition=handler.number, bytes=handler.log.bytes)
        handler.drop_open()
        self._dropped.add(handler.number)

    def _pause(self) -> None:
        """Pauses what was dropped, and what has more than could be fed; the others go on."""
        if limits.has_room_again(self._used(), self._settings.memory_limit_bytes):
            for number in self._dropped:
                self._seek(number)
            self._dropped.clear()
        behind = {handler.number for handler in self._handlers.values() if handler.backlog}
        pausing = self._dropped | behind
        self._member.pause(partitions(pausing - self._paused))
        self._member.resume(partitions(self._paused - pausing))
        self._paused = pausing

    # ---- commits

    async def _round(self) -> None:
        """Finds the ends, closes what lies idle there, commits what is announced and how far the log is stored."""
        try:
            asked_us = self._runtime.clock.monotonic_us()
            told = await self._ends()
            ends = {p.number: end for p, end in told.items() if self._member.is_sure(p)}
            self._notice(ends)
            broker_us = self._broker_clock.at(asked_us)
            resting = {number for number, end in ends.items() if self._handlers[number].is_at(end)}
            for number in resting:
                self._handlers[number].rests_at_end(asked_us, broker_us)
            await self._commit(dict.fromkeys(resting, broker_us), ends.keys())
        except Retriable as error:
            self._runtime.health.failing("kafka", str(error))
        else:
            self._tell_health(len(self._handlers) - len(told))

    async def _ends(self) -> dict[Partition, int]:
        """The end of each partition whose leader answers."""
        if self._handlers:
            return await self._member.ends_told(partitions(self._handlers))
        if self._runtime.clock.monotonic_us() - self._member.contact_us() > self._session_us:
            raise Retriable("no sign of life from the group's coordinator")
        return {}

    def _notice(self, heard: Iterable[int]) -> None:
        """Leaders of these partitions answered, and have what was read."""
        for number in heard:
            contact = self._contacts.setdefault(number, Contact(self._session_us))
            contact.heard(self._runtime.clock.monotonic_us())

    def _tell_health(self, away: int) -> None:
        if away:
            self._runtime.health.failing("kafka", f"the leaders of {away} partitions do not answer")
        else:
            self._runtime.health.ok("kafka")

    async def _commit(self, ends_us: Mapping[int, int | None], heard: Container[int]) -> None:
        """What may be committed.

        Args:
            ends_us: the broker's time, if known, for the partitions that rest at their end.
            heard: the partitions whose leader has just answered; of the others nobody knows what may be on its way.
        """
        commits: dict[Partition, Committed] = {}
        for number, handler in self._handlers.items():
            log_stands = number not in heard or not self._is_in_contact(number)
            commit = handler.log.committable(end_us=ends_us.get(number), log_stands=log_stands)
            commits[Partition(names.FRAGMENTS, number)] = Committed(commit.offset, commit.metadata)
        if commits:
            await self._member.commit(commits)

    def _is_in_contact(self, number: int) -> bool:
        return self._contacts[number].lasts_us() >= self._settings.contact_s * 1e6

    async def _drain(self) -> None:
        """Gives closed segments a while to be stored; the others are for the next owner."""
        try:
            async with asyncio.timeout(self._settings.drain_s):
                for handler in self._handlers.values():
                    await handler.settled()
        except TimeoutError:
            log.warning("segments left for the next owner", bytes=self._used())


def partitions(numbers: Iterable[int]) -> frozenset[Partition]:
    """These partitions of `fragments`."""
    return frozenset(Partition(names.FRAGMENTS, number) for number in numbers)
