"""Questions about groups and topics, for those who are no member."""
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
from districam_common.kafka.connection import administration, arguments, translating
from districam_common.kafka.continuity import Continuity, records_at
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Committed, Partition, Record
from districam_common.runtime.settings import KafkaSettings


class Groups:
    """What any group has committed, and where partitions begin and end, for those who are no member."""

    def __init__(
        self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, settings: KafkaSettings, client_id: str
    ) -> None:
        self._admin = admin
        self._consumer = consumer
        self._settings = settings
        self._client_id = client_id
        self._timeout_s = settings.request_timeout_s
        self._continuity = Continuity(consumer, self._look)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: KafkaSettings, client_id: str = "districam-groups"
    ) -> AsyncGenerator["Groups"]:
        """Connected for the length of the block. Raises Retriable, Fatal."""
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(administration(settings, client_id))
            plain = AIOKafkaConsumer(**arguments(settings, client_id), enable_auto_commit=False)
            consumer = await stack.enter_async_context(offsets.connected(plain, settings))
            yield cls(admin, consumer, settings, client_id)

    async def committed(
        self, group: str, partitions: Iterable[Partition]
    ) -> dict[Partition, Committed | None]:
        """Offset and text; None where the group never committed. Raises Retriable."""
        return await offsets.committed(self._admin, group, partitions, self._timeout_s)

    async def members(self, group: str) -> int:
        """How many are in the group now; 0 of one that nobody has ever heard of. Raises Retriable."""
        what = f"looking up the members of {group}"
        with translating(what):
            async with asyncio.timeout(self._timeout_s):
                answers: list[Any] = [*await self._admin.describe_consumer_groups([group])]
        (told,) = answers[0].groups
        if told[0]:
            raise Retriable(f"{what}: error {told[0]}")
        return len(told[5])

    async def beginnings(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Asked of the broker now. Raises Retriable."""
        return await offsets.beginnings(self._consumer, partitions, self._timeout_s)

    async def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Asked of the broker now. Raises Retriable."""
        return await offsets.ends(self._consumer, partitions, self._timeout_s)

    async def partitions(self, topic: str) -> list[Partition]:
        """Every partition of the topic. Raises Retriable."""
        await offsets.require_topics(self._consumer, [topic], self._timeout_s)
        return await offsets.partitions_of(self._consumer, topic, self._timeout_s)

    async def sure(self, lasts: Mapping[Partition, Mark | None]) -> set[Partition]:
        """The partitions whose log is the one that was read, as far as a connection to its leader can tell at this moment.

        Args:
            lasts: the last record that was read of each; None: of none.

        Raises:
            Retriable: nobody can tell at present.
        """
        for partition, last in lasts.items():
            if not self._continuity.is_sure(partition):
                self._continuity.sought(partition, last)
        await self._continuity.torn(lasts, {})
        return {partition for partition in lasts if self._continuity.is_sure(partition)}

    async def _look(self, asked: Mapping[Partition, int]) -> Mapping[Partition, Record | None]:
        return await records_at(self._settings, asked, f"{self._client_id}-looking-back")
