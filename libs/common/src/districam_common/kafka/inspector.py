"""Queries about groups and topics without joining a group."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from districam_common.errors import Retriable
from districam_common.kafka import offsets
from districam_common.kafka.connection import client_arguments, open_admin_client, translate_errors
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Committed, Partition, Record
from districam_common.kafka.truncation_detector import TruncationDetector, read_records_at
from districam_common.runtime.settings import KafkaSettings


class KafkaInspector:
    """Commits, members and offsets of any group and topic, without joining a group."""

    def __init__(
        self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, settings: KafkaSettings, client_id: str
    ) -> None:
        self._admin = admin
        self._consumer = consumer
        self._settings = settings
        self._client_id = client_id
        self._timeout_s = settings.request_timeout_s
        self._truncation_detector = TruncationDetector(consumer, self._read_records_at)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: KafkaSettings, client_id: str = "districam-groups"
    ) -> AsyncGenerator["KafkaInspector"]:
        """Connected for the duration of the block. Raises Retriable, Fatal."""
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(open_admin_client(settings, client_id))
            plain = AIOKafkaConsumer(**client_arguments(settings, client_id), enable_auto_commit=False)
            consumer = await stack.enter_async_context(offsets.open_consumer(plain, settings))
            yield cls(admin, consumer, settings, client_id)

    async def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, Committed | None]:
        """Offset and metadata per partition; None where the group never committed. Raises Retriable."""
        return await offsets.committed(self._admin, group, partitions, self._timeout_s)

    async def member_count(self, group: str) -> int:
        """The number of members of the group; 0 if it does not exist. Raises Retriable."""
        what = f"looking up the members of {group}"
        with translate_errors(what):
            async with asyncio.timeout(self._timeout_s):
                answers: list[Any] = [*await self._admin.describe_consumer_groups([group])]
        (group_fields,) = answers[0].groups
        if group_fields[0]:  # error_code (Kafka protocol, DescribeGroups Response)
            raise Retriable(f"{what}: error {group_fields[0]}")
        return len(group_fields[5])  # members

    async def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset of each log, requested from the broker. Raises Retriable."""
        return await offsets.beginning_offsets(self._consumer, partitions, self._timeout_s)

    async def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that each one's next record will get, requested from the broker. Raises Retriable."""
        return await offsets.end_offsets(self._consumer, partitions, self._timeout_s)

    async def partitions(self, topic: str) -> list[Partition]:
        """Every partition of the topic. Raises Retriable."""
        await offsets.require_topics(self._consumer, [topic], self._timeout_s)
        return await offsets.partitions_of(self._consumer, topic, self._timeout_s)

    async def verified_partitions(self, last_read: Mapping[Partition, Mark | None]) -> set[Partition]:
        """The partitions whose current leader's log contains the last record read.

        Args:
            last_read: mark of the last record read of each; None if none was read.

        Raises:
            Retriable: that cannot be verified at present.
        """
        for partition, last in last_read.items():
            if not self._truncation_detector.is_verified(partition):
                self._truncation_detector.report_seek(partition, last)
        await self._truncation_detector.truncated_partitions(last_read, {})
        return {partition for partition in last_read if self._truncation_detector.is_verified(partition)}

    async def _read_records_at(self, asked: Mapping[Partition, int]) -> Mapping[Partition, Record | None]:
        return await read_records_at(self._settings, asked, f"{self._client_id}-looking-back")
