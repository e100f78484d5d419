"""The aiokafka consumer of a group member: its arguments, and its rebalance callbacks in our types."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false

from collections.abc import Awaitable, Callable, Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

from districam_common.kafka.connection import client_arguments
from districam_common.kafka.internals import sticky_assignor
from districam_common.kafka.records import Partition
from districam_common.runtime.settings import KafkaSettings

_FETCH_MAX_WAIT_MS = 200
"""Time after which the broker answers a fetch without new records."""
_MAX_POLL_INTERVAL_MS = 300_000
"""A member that does not poll for this long leaves the group."""

PartitionsCallback = Callable[[frozenset[Partition]], Awaitable[None]]


class RebalanceListener(ConsumerRebalanceListener):
    """Passes aiokafka's rebalance callbacks on, with partitions in our type."""

    def __init__(self, on_revoked: PartitionsCallback, on_assigned: PartitionsCallback) -> None:
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]  # it awaits coroutines
        self, revoked: Iterable[TopicPartition]
    ) -> None:
        await self._on_revoked(frozenset(Partition(*key) for key in revoked))

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]  # likewise
        self, assigned: Iterable[TopicPartition]
    ) -> None:
        await self._on_assigned(frozenset(Partition(*key) for key in assigned))


def create_consumer(
    settings: KafkaSettings, group: str, client_id: str, max_partition_fetch_bytes: int
) -> AIOKafkaConsumer:
    """An `AIOKafkaConsumer` for a group member, not started; without auto commit and offset reset."""
    session_ms = int(settings.session_timeout_s * 1000)
    return AIOKafkaConsumer(
        **client_arguments(settings, client_id),
        group_id=group,
        partition_assignment_strategy=(sticky_assignor(),),
        session_timeout_ms=session_ms,
        rebalance_timeout_ms=session_ms,
        heartbeat_interval_ms=int(settings.heartbeat_s * 1000),
        max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
        max_partition_fetch_bytes=max_partition_fetch_bytes,
    )
