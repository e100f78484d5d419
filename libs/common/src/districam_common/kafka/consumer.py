"""The door to Kafka for reading as a member of a group; and, by name, the other readers."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from districam_common.errors import Retriable
from districam_common.kafka import internals, offsets
from districam_common.kafka.connection import administration, translating
from districam_common.kafka.continuity import Continuity, records_at, surviving
from districam_common.kafka.group import Listener, OnChange, consumer_of
from districam_common.kafka.groups import Groups
from districam_common.kafka.marks import Mark
from districam_common.kafka.offsets import foreign, record_of
from districam_common.kafka.reader import Reader
from districam_common.kafka.records import Committed, FellOff, MembershipLost, Partition, Record
from districam_common.runtime.clock import Clock
from districam_common.runtime.settings import KafkaSettings

__all__ = [
    "FRAGMENT_FETCH_BYTES",
    "Committed",
    "FellOff",
    "Groups",
    "Member",
    "MembershipLost",
    "Partition",
    "Reader",
    "Record",
]

log = structlog.get_logger()

FRAGMENT_FETCH_BYTES = 9 << 20
"""`max_partition_fetch_bytes` where fragments are read: their largest record. Prefetching takes up to 2.6 times this
a partition (measured)."""
_SLICE_S = 0.2  # how often a poll looks up whether the group is being rebalanced


@dataclass(frozen=True, slots=True)
class _Change:
    """A step of a rebalance, waiting for the owner's next poll."""

    kind: Literal["revoked", "assigned"]
    partitions: frozenset[Partition]
    handled: asyncio.Event = field(default_factory=asyncio.Event)


class Member:
    """A member of a consumer group that commits by hand. For one task; only `contact_us` may be read by others.

    `on_revoked` (all partitions, before each rebalance) and `on_assigned` (all now owned; it must seek every one) are
    called inside `poll`, so they never run beside the owner's work, and their errors come out of it. The group is
    joined at the first poll. Nothing of a partition is fetched before it has been sought.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        settings: KafkaSettings,
        *,
        group: str,
        on_assigned: OnChange,
        on_revoked: OnChange,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._settings = settings
        self._timeout_s = settings.request_timeout_s
        self._continuity = Continuity(consumer, self._look)
        self._patience_s = settings.session_timeout_s / 2
        self._group = group
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._clock = clock
        self._changes: deque[_Change] = deque()
        self._woken = asyncio.Event()
        self._is_closing = False
        self._owned: frozenset[Partition] = frozenset()
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._contact_us = clock.monotonic_us()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KafkaSettings,
        group: str,
        topics: Sequence[str],
        client_id: str,
        *,
        on_assigned: OnChange,
        on_revoked: OnChange,
        clock: Clock,
        max_partition_fetch_bytes: int = 1 << 20,
    ) -> AsyncGenerator["Member"]:
        """A member for the length of the block; leaves the group at its end, so that others take over at once.

        Raises:
            Retriable: the broker or a topic is not there.
            Fatal: the broker refuses us.
        """
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(administration(settings, client_id))
            raw = consumer_of(settings, group, client_id, max_partition_fetch_bytes)
            consumer = await stack.enter_async_context(offsets.connected(raw, settings))
            await offsets.require_topics(consumer, topics, settings.request_timeout_s)
            member = cls(
                consumer,
                admin,
                settings,
                group=group,
                on_assigned=on_assigned,
                on_revoked=on_revoked,
                clock=clock,
            )
            internals.on_heartbeat(consumer, member._heard_from_coordinator)
            consumer.subscribe(list(topics), listener=Listener(member._when_revoked, member._when_assigned))
            stack.callback(member._release)
            yield member

    # ---- reading

    async def poll(
        self, *, timeout_s: float, max_records: int | None = None
    ) -> dict[Partition, list[Record]]:
        """The next records, by partition in order; none after `timeout_s`. Runs the callbacks of a rebalance.

        No offset is left out: where no record can be read, a `Record` says so.

        Raises:
            MembershipLost: open a new member.
            FellOff: positions that the log does not have, or whose log is another one than what was read before them
                (see `continuity`); again at each poll until they are sought.
            Retriable: trouble with the broker; poll again, or open a new member. If it was `on_assigned` that raised
                (whatever it raised), the next poll calls it again.
            Fatal: it refuses us.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            await self._handle_changes()
            left_s = max(0.0, deadline - loop.time())
            records = await self._fetched(min(left_s, _SLICE_S), max_records)
            if records or left_s <= 0:
                return records

    async def _fetched(self, timeout_s: float, max_records: int | None) -> dict[Partition, list[Record]]:
        if internals.has_ended(self._consumer):
            raise MembershipLost("the Kafka client has ended inside: joining anew")
        if internals.is_rebalancing(self._consumer):
            # `getmany` would wait for the assignment without a deadline, while that waits for our callbacks
            await self._woken_within(timeout_s)
            return {}
        with translating("reading"):
            got = await self._got(timeout_s, max_records)
        out: dict[Partition, list[Record]] = {}
        for key, some in got.items():
            partition = Partition(key.topic, key.partition)
            if self._is_next(partition, some[0].offset):
                out[partition] = [record_of(raw) for raw in some]
        await self._check(out)
        self._positions |= {partition: some[-1].next_offset for partition, some in out.items()}
        return out

    def _is_next(self, partition: Partition, offset: int) -> bool:
        """Whether records from `offset` on come next. If not, some were given to nobody: they are fetched once more."""
        position = self._positions.get(partition)
        if position is None or offset == position:
            return position is not None
        log.error(
            "records out of order",
            topic=partition.topic,
            partition=partition.number,
            position=position,
            offset=offset,
        )
        for key in self._held([partition]):
            self._consumer.seek(key, position)
        return False

    async def _check(self, got: Mapping[Partition, Sequence[Record]]) -> None:
        """That the logs are those that were read so far. If not, or if nobody can tell, `got` is to be fetched again."""
        torn = set(got)
        try:
            torn = await self._continuity.torn(self._owned & self._positions.keys(), got)
        finally:
            if torn:
                for key in self._held(got):
                    self._consumer.seek(key, self._positions[Partition(*key)])
        if torn:
            raise FellOff({partition: self._positions[partition] for partition in torn})

    async def _look(self, asked: Mapping[Partition, int]) -> Mapping[Partition, Record | None]:
        return await records_at(self._settings, asked, f"{self._group}-looking-back")

    async def _got(self, timeout_s: float, max_records: int | None) -> dict[TopicPartition, list[Any]]:
        try:
            async with asyncio.timeout(timeout_s + _SLICE_S):
                return await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except TimeoutError:  # a rebalance has begun meanwhile
            internals.reset_fetch_count(self._consumer)
            return {}
        except kafka.OffsetOutOfRangeError as error:
            internals.reset_fetch_count(self._consumer)
            fallen: dict[TopicPartition, int] = error.args[0]
            raise FellOff({Partition(*key): offset for key, offset in fallen.items()}) from error

    async def _woken_within(self, timeout_s: float) -> None:
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()

    # ---- rebalances

    async def _when_revoked(self, partitions: frozenset[Partition]) -> None:
        """In the coordinator's task: holds the rebalance up until the owner has let go, not for ever."""
        if not partitions or self._is_closing:
            return
        change = _Change("revoked", partitions)
        self._changes.append(change)
        self._woken.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await change.handled.wait()

    async def _when_assigned(self, partitions: frozenset[Partition]) -> None:
        """In the coordinator's task: nothing is to be fetched until the owner has said from where."""
        for key in foreign(partitions):
            self._consumer.seek(key, 0)
            self._consumer.pause(key)
        self._contact_us = self._clock.monotonic_us()
        self._changes.append(_Change("assigned", partitions))
        self._woken.set()

    async def _handle_changes(self) -> None:
        while self._changes:
            change = self._changes[0]
            if change.kind == "assigned" and len(self._changes) == 1:  # else out of date already
                await self._take_on(change.partitions)  # if it fails, it stands there for the next poll
            self._changes.popleft()
            if change.kind == "revoked":
                await self._let_go(change)

    async def _let_go(self, change: _Change) -> None:
        log.info("partitions revoked", group=self._group, count=len(change.partitions))
        try:
            if self._owned:
                await self._on_revoked(self._owned)
        finally:
            self._owned = frozenset()
            change.handled.set()

    async def _take_on(self, partitions: frozenset[Partition]) -> None:
        self._owned = partitions
        self._positions = {}
        self._paused = set()
        self._continuity.forget()
        await self._on_assigned(partitions)
        log.info("partitions assigned", group=self._group, count=len(partitions))
        if len(self._changes) > 1:
            return  # the next rebalance has begun meanwhile
        unsought = partitions - self._positions.keys()
        if unsought:
            raise AssertionError(f"on_assigned left {sorted(unsought)[:3]} without a position")
        self._consumer.resume(*foreign(partitions - self._paused))

    @property
    def member_assignment(self) -> frozenset[Partition]:
        """What `on_assigned` was last told; empty after `on_revoked`."""
        return self._owned

    # ---- positions

    def seek(self, partition: Partition, offset: int, *, after: Mark | None = None) -> None:
        """The next record to read; `after`: what was read before, so that another log is noticed.

        A partition that was taken away meanwhile is passed over, here and below.
        """
        self._positions[partition] = offset
        self._continuity.sought(partition, after)
        for key in self._held([partition]):
            self._consumer.seek(key, offset)

    def position(self, partition: Partition) -> int:
        """The offset of the next record that `poll` will give. Raises KeyError if not owned."""
        return self._positions[partition]

    def is_sure(self, partition: Partition) -> bool:
        """Whether the leader that answers at this moment is known to have what was given out."""
        return self._continuity.is_sure(partition)

    async def surviving(self, asked: Mapping[Partition, Sequence[Mark]]) -> dict[Partition, Mark | None]:
        """The first of each partition's marks that its log still holds; None for none of them. Raises Retriable."""
        return await surviving(asked, self._look)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetches no more of them until `resume` or a rebalance."""
        held = self._held(partitions)
        self._paused |= {Partition(*key) for key in held}
        self._consumer.pause(*held)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Takes `pause` back."""
        held = self._held(partitions)
        self._paused -= {Partition(*key) for key in held}
        self._consumer.resume(*held)

    def leader(self, partition: Partition) -> int:
        """The id of the broker that leads it, as far as is known; below 0 if none does."""
        found = internals.leader(self._consumer, partition)
        return -1 if found is None else found

    def highwater(self, partition: Partition) -> int | None:
        """The partition's end as the last fetch told it; None before one. Stale while paused."""
        held = self._held([partition])
        return self._consumer.highwater(held[0]) if held else None

    def _held(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        assignment = self._consumer.assignment()
        return [key for key in foreign(partitions) if key in assignment]

    async def beginnings(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset that each still has; asked of the broker now. Raises Retriable."""
        return await offsets.beginnings(self._consumer, partitions, self._timeout_s)

    async def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that each one's next record will get; asked of the broker now. Raises Retriable."""
        return await offsets.ends(self._consumer, partitions, self._timeout_s)

    async def ends_told(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """`ends` of the partitions whose leader answers in time. Raises Retriable if none does."""
        return await offsets.ends_told(self._consumer, partitions, min(self._timeout_s, self._patience_s))

    # ---- commits

    async def committed(self, partitions: Iterable[Partition]) -> dict[Partition, Committed | None]:
        """The group's commits, text included; None where there is none. Raises Retriable."""
        return await offsets.committed(self._admin, self._group, partitions, self._timeout_s)

    async def commit(self, committing: Mapping[Partition, Committed]) -> None:
        """Commits offsets and texts. Kafka takes an offset that goes backwards: that is the caller's to avoid.

        Raises:
            Retriable: not done, or not known to be: no answer in time, or no longer a member.
            Rejected: the text is too long for the broker.
        """
        what = f"committing for {self._group}"
        if internals.generation(self._consumer) < 0:
            # Kafka would take it, from nobody in particular, while the group is empty
            raise Retriable(f"{what}: not a member at present")
        values = {TopicPartition(*key): (value.offset, value.metadata) for key, value in committing.items()}
        with translating(what):
            async with asyncio.timeout(self._timeout_s):
                await self._consumer.commit(values)
        self._contact_us = self._clock.monotonic_us()

    # ---- contact

    def contact_us(self) -> int:
        """Monotonic instant of the coordinator's last sign of life. A broker that froze shows in nothing else."""
        return self._contact_us

    def _heard_from_coordinator(self) -> None:
        self._contact_us = self._clock.monotonic_us()

    def _release(self) -> None:
        """Lets a rebalance that waits for the owner go on without it."""
        self._is_closing = True
        for change in self._changes:
            change.handled.set()
