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
from districam_common.kafka.connection import open_admin_client, translate_errors
from districam_common.kafka.inspector import KafkaInspector
from districam_common.kafka.marks import Mark
from districam_common.kafka.offsets import to_record, to_topic_partitions
from districam_common.kafka.rebalance_listener import PartitionsCallback, RebalanceListener, create_consumer
from districam_common.kafka.records import Committed, MembershipLost, OffsetOutOfRange, Partition, Record
from districam_common.kafka.topic_reader import TopicReader
from districam_common.kafka.truncation_detector import (
    TruncationDetector,
    first_surviving_marks,
    read_records_at,
)
from districam_common.runtime.clock import Clock
from districam_common.runtime.settings import KafkaSettings

__all__ = [
    "FRAGMENT_FETCH_BYTES",
    "Committed",
    "GroupConsumer",
    "KafkaInspector",
    "MembershipLost",
    "OffsetOutOfRange",
    "Partition",
    "Record",
    "TopicReader",
]

log = structlog.get_logger()

FRAGMENT_FETCH_BYTES = 9 << 20
"""`max_partition_fetch_bytes` where fragments are read: their largest record. Prefetching takes up to 2.6 times this
a partition (measured)."""
_POLL_SLICE_S = 0.2  # how often a poll looks up whether the group is being rebalanced


@dataclass(frozen=True, slots=True)
class _RebalanceStep:
    """A step of a rebalance, waiting for the owner's next poll."""

    kind: Literal["revoked", "assigned"]
    partitions: frozenset[Partition]
    handled: asyncio.Event = field(default_factory=asyncio.Event)


class GroupConsumer:
    """A member of a consumer group that commits by hand. For one task; only `last_contact_us` may be read by others.

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
        on_assigned: PartitionsCallback,
        on_revoked: PartitionsCallback,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._settings = settings
        self._timeout_s = settings.request_timeout_s
        self._truncation_detector = TruncationDetector(consumer, self._read_records_at)
        self._rebalance_timeout_s = settings.session_timeout_s / 2
        self._group = group
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._clock = clock
        self._rebalance_steps: deque[_RebalanceStep] = deque()
        self._wakeup = asyncio.Event()
        self._is_closing = False
        self._owned: frozenset[Partition] = frozenset()
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._last_contact_us = clock.monotonic_us()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KafkaSettings,
        group: str,
        topics: Sequence[str],
        client_id: str,
        *,
        on_assigned: PartitionsCallback,
        on_revoked: PartitionsCallback,
        clock: Clock,
        max_partition_fetch_bytes: int = 1 << 20,
    ) -> AsyncGenerator["GroupConsumer"]:
        """A member for the length of the block; leaves the group at its end, so that others take over at once.

        Raises:
            Retriable: the broker or a topic is not there.
            Fatal: the broker refuses us.
        """
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(open_admin_client(settings, client_id))
            raw = create_consumer(settings, group, client_id, max_partition_fetch_bytes)
            consumer = await stack.enter_async_context(offsets.open_consumer(raw, settings))
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
            internals.on_heartbeat(consumer, member._record_contact)
            consumer.subscribe(list(topics), listener=RebalanceListener(member._queue_revoked, member._queue_assigned))
            stack.callback(member._release_rebalance)
            yield member

    # ---- reading

    async def poll(self, *, timeout_s: float, max_records: int | None = None) -> dict[Partition, list[Record]]:
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
            await self._handle_rebalance()
            left_s = max(0.0, deadline - loop.time())
            records = await self._fetch(min(left_s, _POLL_SLICE_S), max_records)
            if records or left_s <= 0:
                return records

    async def _fetch(self, timeout_s: float, max_records: int | None) -> dict[Partition, list[Record]]:
        if internals.has_ended(self._consumer):
            raise MembershipLost("the Kafka client has ended inside: joining anew")
        if internals.is_rebalancing(self._consumer):
            # `getmany` would wait for the assignment without a deadline, while that waits for our callbacks
            await self._wait_wakeup(timeout_s)
            return {}
        with translate_errors("reading"):
            got = await self._getmany(timeout_s, max_records)
        out: dict[Partition, list[Record]] = {}
        for key, some in got.items():
            partition = Partition(key.topic, key.partition)
            if self._is_next_offset(partition, some[0].offset):
                out[partition] = [to_record(raw) for raw in some]
        await self._require_not_truncated(out)
        self._positions |= {partition: some[-1].next_offset for partition, some in out.items()}
        return out

    def _is_next_offset(self, partition: Partition, offset: int) -> bool:
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
        for key in self._assigned_keys([partition]):
            self._consumer.seek(key, position)
        return False

    async def _require_not_truncated(self, got: Mapping[Partition, Sequence[Record]]) -> None:
        """That the logs are those that were read so far. If not, or if nobody can tell, `got` is to be fetched again."""
        torn = set(got)
        try:
            torn = await self._truncation_detector.truncated_partitions(self._owned & self._positions.keys(), got)
        finally:
            if torn:
                for key in self._assigned_keys(got):
                    self._consumer.seek(key, self._positions[Partition(*key)])
        if torn:
            raise OffsetOutOfRange({partition: self._positions[partition] for partition in torn})

    async def _read_records_at(self, asked: Mapping[Partition, int]) -> Mapping[Partition, Record | None]:
        return await read_records_at(self._settings, asked, f"{self._group}-looking-back")

    async def _getmany(self, timeout_s: float, max_records: int | None) -> dict[TopicPartition, list[Any]]:
        try:
            async with asyncio.timeout(timeout_s + _POLL_SLICE_S):
                return await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except TimeoutError:  # a rebalance has begun meanwhile
            internals.reset_fetch_count(self._consumer)
            return {}
        except kafka.OffsetOutOfRangeError as error:
            internals.reset_fetch_count(self._consumer)
            out_of_range: dict[TopicPartition, int] = error.args[0]
            raise OffsetOutOfRange({Partition(*key): offset for key, offset in out_of_range.items()}) from error

    async def _wait_wakeup(self, timeout_s: float) -> None:
        self._wakeup.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wakeup.wait()

    # ---- rebalances

    async def _queue_revoked(self, partitions: frozenset[Partition]) -> None:
        """In the coordinator's task: holds the rebalance up until the owner has let go, not for ever."""
        if not partitions or self._is_closing:
            return
        change = _RebalanceStep("revoked", partitions)
        self._rebalance_steps.append(change)
        self._wakeup.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rebalance_timeout_s):
                await change.handled.wait()

    async def _queue_assigned(self, partitions: frozenset[Partition]) -> None:
        """In the coordinator's task: nothing is to be fetched until the owner has said from where."""
        for key in to_topic_partitions(partitions):
            self._consumer.seek(key, 0)
            self._consumer.pause(key)
        self._last_contact_us = self._clock.monotonic_us()
        self._rebalance_steps.append(_RebalanceStep("assigned", partitions))
        self._wakeup.set()

    async def _handle_rebalance(self) -> None:
        while self._rebalance_steps:
            change = self._rebalance_steps[0]
            if change.kind == "assigned" and len(self._rebalance_steps) == 1:  # else out of date already
                await self._assign(change.partitions)  # if it fails, it stands there for the next poll
            self._rebalance_steps.popleft()
            if change.kind == "revoked":
                await self._revoke(change)

    async def _revoke(self, change: _RebalanceStep) -> None:
        log.info("partitions revoked", group=self._group, count=len(change.partitions))
        try:
            if self._owned:
                await self._on_revoked(self._owned)
        finally:
            self._owned = frozenset()
            change.handled.set()

    async def _assign(self, partitions: frozenset[Partition]) -> None:
        self._owned = partitions
        self._positions = {}
        self._paused = set()
        self._truncation_detector.reset()
        await self._on_assigned(partitions)
        log.info("partitions assigned", group=self._group, count=len(partitions))
        if len(self._rebalance_steps) > 1:
            return  # the next rebalance has begun meanwhile
        unsought = partitions - self._positions.keys()
        if unsought:
            raise AssertionError(f"on_assigned left {sorted(unsought)[:3]} without a position")
        self._consumer.resume(*to_topic_partitions(partitions - self._paused))

    @property
    def assignment(self) -> frozenset[Partition]:
        """What `on_assigned` was last told; empty after `on_revoked`."""
        return self._owned

    # ---- positions

    def seek(self, partition: Partition, offset: int, *, after: Mark | None = None) -> None:
        """The next record to read; `after`: what was read before, so that another log is noticed.

        A partition that was taken away meanwhile is passed over, here and below.
        """
        self._positions[partition] = offset
        self._truncation_detector.report_seek(partition, after)
        for key in self._assigned_keys([partition]):
            self._consumer.seek(key, offset)

    def position(self, partition: Partition) -> int:
        """The offset of the next record that `poll` will give. Raises KeyError if not owned."""
        return self._positions[partition]

    def is_verified(self, partition: Partition) -> bool:
        """Whether the leader that answers at this moment is known to have what was given out."""
        return self._truncation_detector.is_verified(partition)

    async def first_surviving_marks(self, asked: Mapping[Partition, Sequence[Mark]]) -> dict[Partition, Mark | None]:
        """The first of each partition's marks that its log still holds; None for none of them. Raises Retriable."""
        return await first_surviving_marks(asked, self._read_records_at)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetches no more of them until `resume` or a rebalance."""
        held = self._assigned_keys(partitions)
        self._paused |= {Partition(*key) for key in held}
        self._consumer.pause(*held)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Takes `pause` back."""
        held = self._assigned_keys(partitions)
        self._paused -= {Partition(*key) for key in held}
        self._consumer.resume(*held)

    def leader(self, partition: Partition) -> int:
        """The id of the broker that leads it, as far as is known; below 0 if none does."""
        found = internals.leader(self._consumer, partition)
        return -1 if found is None else found

    def highwater(self, partition: Partition) -> int | None:
        """The partition's end as the last fetch told it; None before one. Stale while paused."""
        held = self._assigned_keys([partition])
        return self._consumer.highwater(held[0]) if held else None

    def _assigned_keys(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        assignment = self._consumer.assignment()
        return [key for key in to_topic_partitions(partitions) if key in assignment]

    async def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset that each still has; asked of the broker now. Raises Retriable."""
        return await offsets.beginning_offsets(self._consumer, partitions, self._timeout_s)

    async def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that each one's next record will get; asked of the broker now. Raises Retriable."""
        return await offsets.end_offsets(self._consumer, partitions, self._timeout_s)

    async def available_end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """`ends` of the partitions whose leader answers in time. Raises Retriable if none does."""
        return await offsets.available_end_offsets(
            self._consumer, partitions, min(self._timeout_s, self._rebalance_timeout_s)
        )

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
        with translate_errors(what):
            async with asyncio.timeout(self._timeout_s):
                await self._consumer.commit(values)
        self._last_contact_us = self._clock.monotonic_us()

    # ---- contact

    def last_contact_us(self) -> int:
        """Monotonic instant of the coordinator's last sign of life. A broker that froze shows in nothing else."""
        return self._last_contact_us

    def _record_contact(self) -> None:
        self._last_contact_us = self._clock.monotonic_us()

    def _release_rebalance(self) -> None:
        """Lets a rebalance that waits for the owner go on without it."""
        self._is_closing = True
        for change in self._rebalance_steps:
            change.handled.set()
