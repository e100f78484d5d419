"""One partition from assignment to revocation: its log state, and its effects in flight."""

import asyncio
from collections import deque

from districam_common.contract import wire
from districam_common.contract.media import Fragment
from districam_common.kafka.consumer import Record
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import mark_of
from districam_recorder import metrics
from districam_recorder.core.effects import Effect
from districam_recorder.core.limits import PartitionMemory
from districam_recorder.core.partition_log import IncomingRecord, InvalidRecord, PartitionLog
from districam_recorder.effect_executor import EffectExecutor


class PartitionHandler:
    """Runs a partition's effects: PUTs concurrently, announcements in the order of closing."""

    def __init__(self, number: int, log: PartitionLog, executor: EffectExecutor, tasks: asyncio.TaskGroup) -> None:
        self.number = number
        self.log = log
        self.backlog: deque[IncomingRecord] = deque()
        self._executor = executor
        self._tasks = tasks
        self._in_flight: set[asyncio.Task[None]] = set()
        self._last_done = asyncio.Event()  # set once the last started effect is done
        self._last_done.set()

    # ---- reading

    def feed_next(self) -> None:
        """Feeds the first record of the backlog."""
        duplicates = self.log.duplicates
        self._start(self.log.feed(self.backlog.popleft()))
        metrics.DUPLICATES.inc(self.log.duplicates - duplicates)

    @property
    def is_contiguous(self) -> bool:
        """Whether the backlog begins at or before the log's position; if not, records are missing between."""
        return self.backlog[0].offset <= self.log.position

    def is_at_end(self, end: int) -> bool:
        """Whether the log has been fed exactly up to `end`. An end before the position is a truncated log's."""
        return not self.backlog and self.log.position == end

    def report_end(self, monotonic_us: int, broker_us: int | None) -> None:
        """See `PartitionLog.report_end`."""
        self._start(self.log.report_end(monotonic_us, broker_us))

    def report_tail_truncation(self, survivor: Mark | None, beginning_offset: int) -> None:
        """See `PartitionLog.report_tail_truncation`."""
        self._start(self.log.report_tail_truncation(survivor, beginning_offset))

    # ---- memory

    def memory_usage(self) -> PartitionMemory:
        oldest = self.log.first_open_record()
        return PartitionMemory(
            partition=self.number,
            bytes=self.log.bytes,
            oldest_us=None if oldest is None else oldest.append_us,
            has_pending=self.log.has_pending,
        )

    def close_largest(self) -> None:
        self._start(self.log.close_largest())

    def discard_open_segments(self) -> None:
        """Drops the open segments and the backlog; `log.position` goes back to before them."""
        self.log = self.log.without_open_segments()
        self.backlog.clear()

    # ---- effects

    def _start(self, effects: list[Effect]) -> None:
        for effect in effects:
            previous_done, self._last_done = self._last_done, asyncio.Event()
            task = self._tasks.create_task(self._execute(effect, previous_done, self._last_done))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _execute(self, effect: Effect, previous_done: asyncio.Event, done: asyncio.Event) -> None:
        await self._executor.execute(effect, self.number, previous_done)
        self.log.report_announced(effect)
        done.set()

    async def wait_idle(self) -> None:
        """Waits until all started effects are done."""
        await self._last_done.wait()

    def close(self) -> None:
        """Cancels effects in flight. Their records are not committed, so the next owner reads them again."""
        for task in self._in_flight:
            task.cancel()


def to_incoming_record(record: Record, received_us: int) -> IncomingRecord:
    """A consumer record as input of the core; `received_us` is monotonic."""
    event_id = mark_of(record).id
    return IncomingRecord(record.offset, record.append_us, received_us, _decode_content(record), event_id, record.count)


def _decode_content(record: Record) -> Fragment | InvalidRecord:
    if record.problem:
        return InvalidRecord("", record.problem, is_lost=record.is_lost)
    try:
        return wire.decode_fragment(record.key, record.headers, record.value)
    except wire.WireError as error:
        return InvalidRecord(record.key_text, str(error))
