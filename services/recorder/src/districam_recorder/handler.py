"""One partition between its assignment and its revocation: its log, and the effects under way."""

import asyncio
from collections import deque

from districam_common.contract import wire
from districam_common.contract.media import Fragment
from districam_common.kafka.consumer import Record
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import mark_of
from districam_recorder import metrics
from districam_recorder.core.effects import Effect
from districam_recorder.core.limits import Holding
from districam_recorder.core.partition_log import Incoming, PartitionLog, Unreadable
from districam_recorder.store import Store


class Handler:
    """Effects run side by side as far as the put; announcements keep the order in which they were asked for."""

    def __init__(self, number: int, log: PartitionLog, store: Store, tasks: asyncio.TaskGroup) -> None:
        self.number = number
        self.log = log
        self.backlog: deque[Incoming] = deque()
        self._store = store
        self._tasks = tasks
        self._under_way: set[asyncio.Task[None]] = set()
        self._last_done = asyncio.Event()  # set once the effect that was asked for last is done
        self._last_done.set()

    # ---- reading

    def read_next(self) -> None:
        """Feeds the first record of the backlog."""
        repeats = self.log.repeats
        self._carry_out(self.log.feed(self.backlog.popleft()))
        metrics.REPEATS.inc(self.log.repeats - repeats)

    @property
    def is_next(self) -> bool:
        """Whether the backlog goes on where the log was left; if not, what lies between must be fetched."""
        return self.backlog[0].offset <= self.log.position

    def is_at(self, end: int) -> bool:
        """Whether all of the log up to `end` has been fed. One that ends before the position is not the one that was read."""
        return not self.backlog and self.log.position == end

    def rests_at_end(self, monotonic_us: int, broker_us: int | None) -> None:
        """The end of the log was found by a request sent at `monotonic_us`."""
        self._carry_out(self.log.rests_at_end(monotonic_us, broker_us))

    def goes_back(self, survivor: Mark | None, beginning: int) -> None:
        """The log lost its tail: see `PartitionLog.goes_back`."""
        self._carry_out(self.log.goes_back(survivor, beginning))

    # ---- memory

    def holding(self) -> Holding:
        oldest = self.log.oldest_open()
        return Holding(
            partition=self.number,
            bytes=self.log.bytes,
            oldest_us=None if oldest is None else oldest.append_us,
            is_waiting=self.log.is_waiting,
        )

    def close_largest(self) -> None:
        self._carry_out(self.log.closes_largest())

    def drop_open(self) -> None:
        """Lets go of the open segments and of what was read ahead; `log.position` goes back to before them."""
        self.log = self.log.without_open()
        self.backlog.clear()

    # ---- effects

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            turn, self._last_done = self._last_done, asyncio.Event()
            task = self._tasks.create_task(self._one(effect, turn, self._last_done))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _one(self, effect: Effect, turn: asyncio.Event, done: asyncio.Event) -> None:
        await self._store.carry_out(effect, self.number, turn)
        self.log.announced(effect)
        done.set()

    async def settled(self) -> None:
        """Returns when all that was asked for is done."""
        await self._last_done.wait()

    def close(self) -> None:
        """Stops what is under way and drops what is open. Nothing of it is ever committed; the next owner reads it again."""
        for task in self._under_way:
            task.cancel()


def incoming(record: Record, received_us: int) -> Incoming:
    """The record as the core takes it; `received_us` is monotonic."""
    name = mark_of(record).id
    return Incoming(record.offset, record.append_us, received_us, _content(record), name, record.count)


def _content(record: Record) -> Fragment | Unreadable:
    if record.problem:
        return Unreadable("", record.problem, is_lost=record.is_lost)
    try:
        return wire.fragment(record.key, record.headers, record.value)
    except wire.WireError as error:
        return Unreadable(record.key_text, str(error))
