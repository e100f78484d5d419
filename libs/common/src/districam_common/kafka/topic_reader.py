"""Reads whole topics without a consumer group: the topic `cameras`, commands, tests."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from districam_common.errors import Retriable
from districam_common.kafka import offsets
from districam_common.kafka.connection import client_arguments, translate_errors
from districam_common.kafka.records import Partition, Record, last_mark
from districam_common.kafka.truncation_detector import RecordLookup, TruncationDetector, read_records_at
from districam_common.runtime.settings import KafkaSettings


class TopicReader:
    """Reads whole topics without a group. If a log turns out to be truncated, it must be read again from the beginning."""

    def __init__(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[Partition], lookup: RecordLookup, timeout_s: float
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._timeout_s = timeout_s
        self._positions: dict[Partition, int] = {}
        self._truncation_detector = TruncationDetector(consumer, lookup)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KafkaSettings,
        topics: Sequence[str],
        *,
        starts: Mapping[Partition, int] | None = None,
        client_id: str = "districam-reader",
    ) -> AsyncGenerator["TopicReader"]:
        """A reader positioned at the topics' beginnings, or at `starts` where given. Raises Retriable, Fatal."""
        timeout_s = settings.request_timeout_s

        def lookup(asked: Mapping[Partition, int]) -> Awaitable[Mapping[Partition, Record | None]]:
            return read_records_at(settings, asked, f"{client_id}-looking-back")

        plain = AIOKafkaConsumer(
            **client_arguments(settings, client_id), enable_auto_commit=False, auto_offset_reset="none"
        )
        async with offsets.open_consumer(plain, settings) as consumer:
            await offsets.require_topics(consumer, topics, timeout_s)
            found = [await offsets.partitions_of(consumer, topic, timeout_s) for topic in topics]
            partitions = [partition for some in found for partition in some]
            reader = cls(consumer, partitions, lookup, timeout_s)
            await reader._start(starts or {})
            yield reader

    async def _start(self, starts: Mapping[Partition, int]) -> None:
        self._consumer.assign(offsets.to_topic_partitions(self._partitions))
        first = await offsets.beginning_offsets(self._consumer, self._partitions, self._timeout_s)
        for partition in self._partitions:
            self._seek(partition, starts.get(partition, first[partition]))

    def _seek(self, partition: Partition, offset: int) -> None:
        self._positions[partition] = offset
        self._consumer.seek(TopicPartition(*partition), offset)

    async def end_offsets(self) -> dict[Partition, int]:
        """The offset that each partition's next record will get, requested from the broker. Raises Retriable."""
        return await offsets.end_offsets(self._consumer, self._partitions, self._timeout_s)

    async def read_all(self) -> list[Record]:
        """All records of `batches`, by partition, in order. Raises as `batches` does."""
        found: dict[Partition, list[Record]] = {partition: [] for partition in self._partitions}
        async for some in self.batches():
            found[Partition(some[0].topic, some[0].partition)] += some
        return [record for partition in self._partitions for record in found[partition]]

    async def batches(self) -> AsyncGenerator[list[Record]]:
        """Yields the records from the position to the current ends; each list is of one partition, in order.

        Raises:
            Retriable: no records for `request_timeout_s`; or the log was truncated, and must be read again from the
                beginning.
        """
        goal = await self.end_offsets()
        for partition, position in self._positions.items():
            if goal[partition] < position:
                raise Retriable(f"reading: {partition} ends at {goal[partition]}, but was read up to {position}")
        await self._require_not_truncated()
        while any(self._positions[partition] < goal[partition] for partition in self._partitions):
            for partition, some in (await self._poll()).items():
                self._positions[partition] = some[-1].next_offset
                if (last := last_mark(some)) is not None:
                    self._truncation_detector.report_seek(partition, last)
                yield some

    async def _poll(self) -> dict[Partition, list[Record]]:
        """The next records; those that do not begin at the partition's position are dropped and fetched again."""
        with translate_errors("reading"):
            got = await self._consumer.getmany(timeout_ms=int(self._timeout_s * 1000))
        if not got:
            raise Retriable(f"reading: no records within {self._timeout_s} s")
        return {
            partition: [offsets.to_record(raw) for raw in some]
            for key, some in got.items()
            if self._is_next_offset(partition := Partition(key.topic, key.partition), some[0].offset)
        }

    async def _require_not_truncated(self) -> None:
        """Raises Retriable if a log does not contain the record last read of it; checked after new reads and connections."""
        if truncated := await self._truncation_detector.truncated_partitions(self._partitions, {}):
            raise Retriable(f"reading: records read from {min(truncated)} no longer exist; the log was truncated")

    def _is_next_offset(self, partition: Partition, offset: int) -> bool:
        if offset == self._positions[partition]:
            return True
        self._seek(partition, self._positions[partition])
        return False
