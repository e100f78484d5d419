"""The recorder's main loop: polls records, feeds them to the partition handlers, commits in rounds."""

import asyncio
from collections.abc import Container, Iterable, Mapping

import structlog

from districam_common.contract import names
from districam_common.errors import Retriable
from districam_common.kafka.consumer import (
    Committed,
    GroupConsumer,
    MembershipLost,
    OffsetOutOfRange,
    Partition,
    Record,
)
from districam_common.runtime.service import Runtime, retry_dependency
from districam_recorder import metrics
from districam_recorder.core import limits
from districam_recorder.core.broker_clock import BrokerClock
from districam_recorder.core.broker_liveness import BrokerLiveness
from districam_recorder.core.checkpoint import Checkpoint, decode_checkpoint
from districam_recorder.core.partition_log import PartitionLog, SegmentLimits
from districam_recorder.effect_executor import EffectExecutor
from districam_recorder.handler import PartitionHandler, to_incoming_record
from districam_recorder.settings import Settings

log = structlog.get_logger()

POLL_TIMEOUT_S = 0.2
RETRY_DELAY_S = 0.5


class Consumer:
    """The partitions of this process. Everything but the effects runs in one task.

    `on_assigned` and `on_revoked` are called from within its polls.
    """

    def __init__(
        self,
        group_consumer: GroupConsumer,
        executor: EffectExecutor,
        tasks: asyncio.TaskGroup,
        settings: Settings,
        runtime: Runtime,
    ) -> None:
        self._group_consumer = group_consumer
        self._executor = executor
        self._tasks = tasks
        self._settings = settings.recorder
        self._runtime = runtime
        self._segment_limits = SegmentLimits(
            idle_us=int(settings.recorder.idle_s * 1e6), segment_max_bytes=settings.recorder.segment_max_bytes
        )
        self._session_timeout_us = int(settings.kafka.session_timeout_s * 1e6)
        self._liveness: dict[int, BrokerLiveness] = {}
        self._broker_clock = BrokerClock()
        self._handlers: dict[int, PartitionHandler] = {}
        self._discarded: set[int] = set()  # open segments dropped for lack of memory; paused until there is room
        self._paused: set[int] = set()

    async def run(self) -> None:
        """Runs until asked to stop; then gives closed segments `drain_s` to be stored, and commits."""
        next_commit_us = 0
        while not self._runtime.stopping.is_set():
            await self._run_once()
            now_us = self._runtime.clock.monotonic_us()
            if now_us >= next_commit_us:
                next_commit_us = now_us + int(self._settings.commit_interval_s * 1e6)
                await self._commit_round()
        await self._drain()
        await self._commit_round()
        await self.on_revoked(fragment_partitions(self._handlers))

    # ---- assignment

    async def on_assigned(self, assigned: frozenset[Partition]) -> None:
        """Opens a handler for each partition at its committed offset, or else at the log's beginning."""
        starts = await retry_dependency(lambda: self._start_positions(assigned), self._runtime, "kafka")
        for partition, (committed, beginning) in starts.items():
            self._open_handler(partition.number, self._restore_log(partition, committed, beginning))

    async def on_revoked(self, revoked: frozenset[Partition]) -> None:
        """Closes the handlers; nothing is committed."""
        for partition in revoked:
            handler = self._handlers.pop(partition.number, None)
            if handler is not None:
                handler.close()
            self._discarded.discard(partition.number)
            self._paused.discard(partition.number)

    async def _start_positions(self, assigned: frozenset[Partition]) -> dict[Partition, tuple[Committed | None, int]]:
        committed = await self._group_consumer.committed(assigned)
        beginnings = await self._group_consumer.beginning_offsets(assigned)
        return {partition: (committed.get(partition), beginnings[partition]) for partition in assigned}

    def _restore_log(self, partition: Partition, committed: Committed | None, beginning_offset: int) -> PartitionLog:
        offset, checkpoint = 0, Checkpoint()
        if committed is not None:
            offset, checkpoint = committed.offset, decode_checkpoint(committed.metadata)
        if checkpoint.log_us:
            self._feed_broker_clock(partition, checkpoint.log_us, self._runtime.clock.monotonic_us())
        partition_log = PartitionLog(offset, checkpoint, self._segment_limits)
        if offset < beginning_offset:
            partition_log.report_head_truncation(beginning_offset)
        return partition_log

    def _open_handler(self, number: int, partition_log: PartitionLog) -> None:
        self._handlers[number] = PartitionHandler(number, partition_log, self._executor, self._tasks)
        self._seek(number)

    def _seek(self, number: int) -> None:
        partition_log = self._handlers[number].log
        partition = Partition(names.FRAGMENTS, number)
        self._group_consumer.seek(partition, partition_log.position, after=partition_log.last_read)

    # ---- reading

    async def _run_once(self) -> None:
        try:
            await self._poll()
        except MembershipLost:
            raise
        except Retriable as error:
            self._runtime.health.report_failing("kafka", str(error))
            await asyncio.sleep(RETRY_DELAY_S)
            return
        self._feed_handlers()
        self._update_paused()
        metrics.OPEN_BYTES.set(self._used_bytes())

    async def _poll(self) -> None:
        try:
            polled = await self._group_consumer.poll(timeout_s=POLL_TIMEOUT_S)
        except OffsetOutOfRange as error:
            await self._handle_out_of_range(error.partitions)
            return
        received_us = self._runtime.clock.monotonic_us()
        for partition, records in polled.items():
            self._enqueue(partition, records, received_us)

    def _enqueue(self, partition: Partition, records: list[Record], received_us: int) -> None:
        handler = self._handlers.get(partition.number)
        if handler is None or partition.number in self._discarded:
            return
        handler.backlog.extend(to_incoming_record(record, received_us) for record in records)
        self._feed_broker_clock(partition, max(record.append_us for record in records), received_us)

    def _feed_broker_clock(self, partition: Partition, append_us: int, received_us: int) -> None:
        if not append_us:
            return  # an unreadable record has no append time
        self._broker_clock.feed(append_us, received_us, self._group_consumer.leader(partition))

    async def _handle_out_of_range(self, positions: Mapping[Partition, int]) -> None:
        """Handles partitions whose log no longer has the requested position, or the record read before it."""
        beginnings = await self._group_consumer.beginning_offsets(positions)
        for partition, position in positions.items():
            handler = self._handlers.get(partition.number)
            if handler is None or handler.backlog or self._group_consumer.position(partition) != position:
                continue  # about an earlier position, or the backlog is not fed yet: the next poll reports it again
            if position < beginnings[partition]:
                handler.log.report_head_truncation(beginnings[partition])
            else:
                await self._handle_tail_truncation(handler, partition, beginnings[partition])
            self._seek(partition.number)

    async def _handle_tail_truncation(
        self, handler: PartitionHandler, partition: Partition, beginning_offset: int
    ) -> None:
        """The log lost its tail, or the topic was recreated: resumes after the last surviving record."""
        survivor = (await self._group_consumer.first_surviving_marks({partition: handler.log.read_marks}))[partition]
        old_position = handler.log.position
        handler.report_tail_truncation(survivor, beginning_offset)
        log.error(
            "the log has lost records that were read",
            partition=handler.number,
            position=old_position,
            resumes_at=handler.log.position,
        )

    # ---- memory

    def _feed_handlers(self) -> None:
        """Feeds polled records to the handlers until memory is full."""
        for handler in self._handlers.values():
            if not self._feed_backlog(handler):
                return

    def _feed_backlog(self, handler: PartitionHandler) -> bool:
        """Feeds a handler's backlog. Returns False if it must wait until something is stored."""
        while handler.backlog:
            if not handler.is_contiguous:
                log.error(
                    "offsets skipped in a poll: reading again", partition=handler.number, position=handler.log.position
                )
                handler.backlog.clear()
                self._seek(handler.number)
                break
            match self._decide(handler):
                case limits.Read():
                    handler.feed_next()
                case limits.Wait():
                    return False
                case limits.Discard(number):
                    self._discard(self._handlers[number])
                case limits.Close(number):
                    log.warning("memory full: a segment is closed early", partition=number)
                    self._handlers[number].close_largest()
        return True

    def _decide(self, handler: PartitionHandler) -> limits.Decision:
        size, limit = handler.backlog[0].bytes, self._settings.memory_limit_bytes
        if limits.fits(self._used_bytes(), size, limit):
            return limits.Read()
        return limits.decide([one.memory_usage() for one in self._handlers.values()], handler.number, size, limit)

    def _used_bytes(self) -> int:
        return sum(handler.log.bytes for handler in self._handlers.values())

    def _discard(self, handler: PartitionHandler) -> None:
        log.warning("memory full: a partition is paused", partition=handler.number, bytes=handler.log.bytes)
        handler.discard_open_segments()
        self._discarded.add(handler.number)

    def _update_paused(self) -> None:
        """Pauses partitions that were discarded or have a backlog; resumes the others."""
        if limits.may_resume(self._used_bytes(), self._settings.memory_limit_bytes):
            for number in self._discarded:
                self._seek(number)
            self._discarded.clear()
        backlogged = {handler.number for handler in self._handlers.values() if handler.backlog}
        pausing = self._discarded | backlogged
        self._group_consumer.pause(fragment_partitions(pausing - self._paused))
        self._group_consumer.resume(fragment_partitions(self._paused - pausing))
        self._paused = pausing

    # ---- commits

    async def _commit_round(self) -> None:
        """Queries end offsets, closes segments that are idle at the end, commits offsets and checkpoints."""
        try:
            requested_us = self._runtime.clock.monotonic_us()
            known_ends = await self._end_offsets()
            ends = {p.number: end for p, end in known_ends.items() if self._group_consumer.is_verified(p)}
            self._report_responding(ends)
            broker_us = self._broker_clock.broker_time_us(requested_us)
            at_end = {number for number, end in ends.items() if self._handlers[number].is_at_end(end)}
            for number in at_end:
                self._handlers[number].report_end(requested_us, broker_us)
            await self._commit(dict.fromkeys(at_end, broker_us), ends.keys())
        except Retriable as error:
            self._runtime.health.report_failing("kafka", str(error))
        else:
            self._report_health(len(self._handlers) - len(known_ends))

    async def _end_offsets(self) -> dict[Partition, int]:
        """End offset of each partition whose leader answers.

        Raises:
            Retriable: without partitions, the coordinator has been silent for the session timeout.
        """
        if self._handlers:
            return await self._group_consumer.available_end_offsets(fragment_partitions(self._handlers))
        if self._runtime.clock.monotonic_us() - self._group_consumer.last_contact_us() > self._session_timeout_us:
            raise Retriable("the group's coordinator does not answer")
        return {}

    def _report_responding(self, responding: Iterable[int]) -> None:
        """Records that the leaders of these partitions answered and hold the records that were read."""
        for number in responding:
            liveness = self._liveness.setdefault(number, BrokerLiveness(self._session_timeout_us))
            liveness.report_response(self._runtime.clock.monotonic_us())

    def _report_health(self, unavailable: int) -> None:
        if unavailable:
            self._runtime.health.report_failing("kafka", f"the leaders of {unavailable} partitions do not answer")
        else:
            self._runtime.health.report_ok("kafka")

    async def _commit(self, ends_us: Mapping[int, int | None], responding: Container[int]) -> None:
        """Commits the offset and checkpoint of every partition.

        Args:
            ends_us: for partitions at their end, the request's time (broker clock); None if unknown.
            responding: partitions whose leader has just answered; the watermark of the others stays.
        """
        commits: dict[Partition, Committed] = {}
        for number, handler in self._handlers.items():
            is_watermark_frozen = number not in responding or not self._is_leader_stable(number)
            commit = handler.log.compute_commit(end_us=ends_us.get(number), is_watermark_frozen=is_watermark_frozen)
            commits[Partition(names.FRAGMENTS, number)] = Committed(commit.offset, commit.metadata)
        if commits:
            await self._group_consumer.commit(commits)

    def _is_leader_stable(self, number: int) -> bool:
        return self._liveness[number].responding_for_us() >= self._settings.contact_s * 1e6

    async def _drain(self) -> None:
        """Waits up to `drain_s` for closed segments to be stored; the next owner stores the rest."""
        try:
            async with asyncio.timeout(self._settings.drain_s):
                for handler in self._handlers.values():
                    await handler.wait_idle()
        except TimeoutError:
            log.warning("stopping before all segments are stored: the next owner stores them", bytes=self._used_bytes())


def fragment_partitions(numbers: Iterable[int]) -> frozenset[Partition]:
    """Partition numbers → partitions of the topic `fragments`."""
    return frozenset(Partition(names.FRAGMENTS, number) for number in numbers)
