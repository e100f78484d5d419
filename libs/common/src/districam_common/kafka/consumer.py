"""A consumer in a group, on aiokafka; also exports the other readers."""
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
from districam_common.kafka.truncation_detector import TruncationDetector, first_surviving_marks, read_records_at
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
"""`max_partition_fetch_bytes` for reading fragments: their largest record. Prefetching takes up to 2.6 times this per
partition (measured)."""
_POLL_SLICE_S = 0.2  # how often a poll checks whether the group is rebalancing


@dataclass(frozen=True, slots=True)
class _RebalanceStep:
    """A step of a rebalance, queued until the owner's next poll."""

    kind: Literal["revoked", "assigned"]
    partitions: frozenset[Partition]
    handled: asyncio.Event = field(default_factory=asyncio.Event)


class GroupConsumer:
    """A member of a consumer group with manual commits. For one task; only `last_contact_us` may be called by others.

    `on_revoked` (all partitions, before each rebalance) and `on_assigned` (all now owned; it must seek every one) are
    called inside `poll`, so they never run concurrently with the owner's work, and `poll` raises their errors. The first
    poll joins the group. Nothing of a partition is fetched before `seek`.
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
        # Members must rejoin within the rebalance timeout, which is the session timeout (`create_consumer`).
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
        """A member for the duration of the block; leaves the group at its end, so that others take over at once.

        Raises:
            Retriable: the broker cannot be reached, or a topic does not exist.
            Fatal: authentication failed, or the server's certificate is not accepted.
        """
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(open_admin_client(settings, client_id))
            raw = create_consumer(settings, group, client_id, max_partition_fetch_bytes)
            consumer = await stack.enter_async_context(offsets.open_consumer(raw, settings))
            await offsets.require_topics(consumer, topics, settings.request_timeout_s)
            member = cls(
                consumer, admin, settings, group=group, on_assigned=on_assigned, on_revoked=on_revoked, clock=clock
            )
            internals.on_heartbeat(consumer, member._record_contact)
            consumer.subscribe(list(topics), listener=RebalanceListener(member._queue_revoked, member._queue_assigned))
            stack.callback(member._release_rebalance)
            yield member

    # ---- reading

    async def poll(self, *, timeout_s: float, max_records: int | None = None) -> dict[Partition, list[Record]]:
        """The next records, by partition in order of offsets; empty after `timeout_s`. Runs the rebalance callbacks.

        No offset is left out: unreadable offsets are returned as a `Record` with `problem`.

        Raises:
            MembershipLost: the aiokafka client has ended; open a new member.
            OffsetOutOfRange: the log does not contain these positions, or not the records read before them (see
                `truncation_detector`); raised by each poll until they are sought.
            Retriable: a broker error; poll again, or open a new member. If `on_assigned` raised (any error), the next
                poll calls it again.
            Fatal: the broker rejected the authentication.
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
            raise MembershipLost("a task of the Kafka client has ended; joining the group with a new client")
        if internals.is_rebalancing(self._consumer):
            # `getmany` would wait without a deadline for the assignment, which itself waits for our callbacks
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
        """Whether `offset` is the partition's next one. If not, records were skipped: seeks back to fetch them again."""
        position = self._positions.get(partition)
        if position is None or offset == position:
            return position is not None
        log.error(
            "records out of order", topic=partition.topic, partition=partition.number, position=position, offset=offset
        )
        for key in self._assigned_keys([partition]):
            self._consumer.seek(key, position)
        return False

    async def _require_not_truncated(self, got: Mapping[Partition, Sequence[Record]]) -> None:
        """Raises OffsetOutOfRange for truncated logs; then, or if that cannot be verified, seeks to fetch `got` again."""
        truncated = set(got)
        try:
            truncated = await self._truncation_detector.truncated_partitions(self._owned & self._positions.keys(), got)
        finally:
            if truncated:
                for key in self._assigned_keys(got):
                    self._consumer.seek(key, self._positions[Partition(*key)])
        if truncated:
            raise OffsetOutOfRange({partition: self._positions[partition] for partition in truncated})

    async def _read_records_at(self, asked: Mapping[Partition, int]) -> Mapping[Partition, Record | None]:
        return await read_records_at(self._settings, asked, f"{self._group}-looking-back")

    async def _getmany(self, timeout_s: float, max_records: int | None) -> dict[TopicPartition, list[Any]]:
        try:
            async with asyncio.timeout(timeout_s + _POLL_SLICE_S):
                return await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except TimeoutError:  # a rebalance began during the call
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
        """Runs in the coordinator's task: delays the rebalance until the owner has revoked, within a timeout."""
        if not partitions or self._is_closing:
            return
        change = _RebalanceStep("revoked", partitions)
        self._rebalance_steps.append(change)
        self._wakeup.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rebalance_timeout_s):
                await change.handled.wait()

    async def _queue_assigned(self, partitions: frozenset[Partition]) -> None:
        """Runs in the coordinator's task: pauses all partitions until the owner has sought them."""
        for key in to_topic_partitions(partitions):
            self._consumer.seek(key, 0)
            self._consumer.pause(key)
        self._last_contact_us = self._clock.monotonic_us()
        self._rebalance_steps.append(_RebalanceStep("assigned", partitions))
        self._wakeup.set()

    async def _handle_rebalance(self) -> None:
        while self._rebalance_steps:
            change = self._rebalance_steps[0]
            if change.kind == "assigned" and len(self._rebalance_steps) == 1:  # else outdated by a later step
                await self._assign(change.partitions)  # if it raises, the step stays queued for the next poll
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
            return  # the next rebalance has already begun
        unsought = partitions - self._positions.keys()
        if unsought:
            raise AssertionError(f"on_assigned left {sorted(unsought)[:3]} without a position")
        self._consumer.resume(*to_topic_partitions(partitions - self._paused))

    @property
    def assignment(self) -> frozenset[Partition]:
        """The partitions last passed to `on_assigned`; empty after `on_revoked`."""
        return self._owned

    # ---- positions

    def seek(self, partition: Partition, offset: int, *, after: Mark | None = None) -> None:
        """Sets the next offset to read. `after`: the mark of the record before it, to detect a truncated log.

        Here and in the methods below, partitions that are no longer assigned are ignored.
        """
        self._positions[partition] = offset
        self._truncation_detector.report_seek(partition, after)
        for key in self._assigned_keys([partition]):
            self._consumer.seek(key, offset)

    def position(self, partition: Partition) -> int:
        """The offset of the next record that `poll` will return. Raises KeyError if not owned."""
        return self._positions[partition]

    def is_verified(self, partition: Partition) -> bool:
        """Whether the current leader is verified to have the last record that `poll` returned."""
        return self._truncation_detector.is_verified(partition)

    async def first_surviving_marks(self, asked: Mapping[Partition, Sequence[Mark]]) -> dict[Partition, Mark | None]:
        """The first of each partition's marks that its log still contains; None if it contains none. Raises Retriable."""
        return await first_surviving_marks(asked, self._read_records_at)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stops fetching them until `resume` or a rebalance."""
        held = self._assigned_keys(partitions)
        self._paused |= {Partition(*key) for key in held}
        self._consumer.pause(*held)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Reverts `pause`."""
        held = self._assigned_keys(partitions)
        self._paused -= {Partition(*key) for key in held}
        self._consumer.resume(*held)

    def leader(self, partition: Partition) -> int:
        """The id of the broker that leads it; below 0 if none does or it is unknown."""
        found = internals.leader(self._consumer, partition)
        return -1 if found is None else found

    def highwater(self, partition: Partition) -> int | None:
        """The partition's end offset as of the last fetch; None before the first. Stale while paused."""
        held = self._assigned_keys([partition])
        return self._consumer.highwater(held[0]) if held else None

    def _assigned_keys(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        assignment = self._consumer.assignment()
        return [key for key in to_topic_partitions(partitions) if key in assignment]

    async def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset of each log, requested from the broker. Raises Retriable."""
        return await offsets.beginning_offsets(self._consumer, partitions, self._timeout_s)

    async def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that each one's next record will get, requested from the broker. Raises Retriable."""
        return await offsets.end_offsets(self._consumer, partitions, self._timeout_s)

    async def available_end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """`end_offsets` of the partitions whose leader answers in time. Raises Retriable if none does."""
        return await offsets.available_end_offsets(
            self._consumer, partitions, min(self._timeout_s, self._rebalance_timeout_s)
        )

    # ---- commits

    async def committed(self, partitions: Iterable[Partition]) -> dict[Partition, Committed | None]:
        """The group's commits with their metadata; None where there is none. Raises Retriable."""
        return await offsets.committed(self._admin, self._group, partitions, self._timeout_s)

    async def commit(self, committing: Mapping[Partition, Committed]) -> None:
        """Commits offsets and metadata. Kafka accepts an offset lower than the last one; the caller must avoid that.

        Raises:
            Retriable: not committed, or unknown: no answer in time, or no longer a member.
            Rejected: the metadata is too long for the broker.
        """
        what = f"committing for {self._group}"
        if internals.generation(self._consumer) < 0:
            # While the group is empty, Kafka accepts commits from clients that are not members.
            raise Retriable(f"{what}: not a member at present")
        values = {TopicPartition(*key): (value.offset, value.metadata) for key, value in committing.items()}
        with translate_errors(what):
            async with asyncio.timeout(self._timeout_s):
                await self._consumer.commit(values)
        self._last_contact_us = self._clock.monotonic_us()

    # ---- contact

    def last_contact_us(self) -> int:
        """Monotonic time of the coordinator's last response, µs. Nothing else shows that a broker hangs."""
        return self._last_contact_us

    def _record_contact(self) -> None:
        self._last_contact_us = self._clock.monotonic_us()

    def _release_rebalance(self) -> None:
        """Releases a rebalance that is waiting for the owner, which is closing."""
        self._is_closing = True
        for change in self._rebalance_steps:
            change.handled.set()
