"""Whole topics, read without a group: by those who follow `cameras`, by commands, by tests."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from districam_common.errors import Retriable
from districam_common.kafka import offsets
from districam_common.kafka.connection import arguments, translating
from districam_common.kafka.continuity import Continuity, Look, records_at
from districam_common.kafka.records import Partition, Record, last_mark
from districam_common.runtime.settings import KafkaSettings


class Reader:
    """Reads whole topics without a group. If a log turns out to be another one than what was read, it must be read anew."""

    def __init__(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[Partition], look: Look, timeout_s: float
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._timeout_s = timeout_s
        self._positions: dict[Partition, int] = {}
        self._continuity = Continuity(consumer, look)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KafkaSettings,
        topics: Sequence[str],
        *,
        starts: Mapping[Partition, int] | None = None,
        client_id: str = "districam-reader",
    ) -> AsyncGenerator["Reader"]:
        """Stands at the topics' beginnings, or at `starts` where given. Raises Retriable, Fatal."""
        timeout_s = settings.request_timeout_s

        def look(asked: Mapping[Partition, int]) -> Awaitable[Mapping[Partition, Record | None]]:
            return records_at(settings, asked, f"{client_id}-looking-back")

        plain = AIOKafkaConsumer(
            **arguments(settings, client_id), enable_auto_commit=False, auto_offset_reset="none"
        )
        async with offsets.connected(plain, settings) as consumer:
            await offsets.require_topics(consumer, topics, timeout_s)
            found = [await offsets.partitions_of(consumer, topic, timeout_s) for topic in topics]
            partitions = [partition for some in found for partition in some]
            reader = cls(consumer, partitions, look, timeout_s)
            await reader._start(starts or {})
            yield reader

    async def _start(self, starts: Mapping[Partition, int]) -> None:
        self._consumer.assign(offsets.foreign(self._partitions))
        first = await offsets.beginnings(self._consumer, self._partitions, self._timeout_s)
        for partition in self._partitions:
            self._seek(partition, starts.get(partition, first[partition]))

    def _seek(self, partition: Partition, offset: int) -> None:
        self._positions[partition] = offset
        self._consumer.seek(TopicPartition(*partition), offset)

    async def ends(self) -> dict[Partition, int]:
        """Asked of the broker now. Raises Retriable."""
        return await offsets.ends(self._consumer, self._partitions, self._timeout_s)

    async def read_all(self) -> list[Record]:
        """All that `batches` gives; by partition, in order. Raises as it does."""
        found: dict[Partition, list[Record]] = {partition: [] for partition in self._partitions}
        async for some in self.batches():
            found[Partition(some[0].topic, some[0].partition)] += some
        return [record for partition in self._partitions for record in found[partition]]

    async def batches(self) -> AsyncGenerator[list[Record]]:
        """What lies between the position and the ends as they are now; some of one partition at a time, each in its order.

        Raises:
            Retriable: the broker gave nothing for `request_timeout_s`; or the log is not the one that was read, and must be
                read anew.
        """
        goal = await self.ends()
        for partition, position in self._positions.items():
            if goal[partition] < position:
                raise Retriable(
                    f"reading: {partition} ends at {goal[partition]}, and was read up to {position}"
                )
        await self._is_as_it_was()
        while any(self._positions[partition] < goal[partition] for partition in self._partitions):
            for partition, some in (await self._some()).items():
                self._positions[partition] = some[-1].next_offset
                if (last := last_mark(some)) is not None:
                    self._continuity.sought(partition, last)
                yield some

    async def _some(self) -> dict[Partition, list[Record]]:
        """The next records. Those of a partition that do not begin where its reading stands are not taken."""
        with translating("reading"):
            got = await self._consumer.getmany(timeout_ms=int(self._timeout_s * 1000))
        if not got:
            raise Retriable(f"reading: nothing came within {self._timeout_s} s")
        return {
            partition: [offsets.record_of(raw) for raw in some]
            for key, some in got.items()
            if self._is_next(partition := Partition(key.topic, key.partition), some[0].offset)
        }

    async def _is_as_it_was(self) -> None:
        """That the logs hold what was last read of them; asked where something new was read, or a connection is new."""
        if torn := await self._continuity.torn(self._partitions, {}):
            raise Retriable(f"reading: what was read of {min(torn)} is not there any more")

    def _is_next(self, partition: Partition, offset: int) -> bool:
        if offset == self._positions[partition]:
            return True
        self._seek(partition, self._positions[partition])
        return False
