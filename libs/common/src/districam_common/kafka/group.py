"""How a member takes part in its group: aiokafka's callbacks in our types, and who gets which partition."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Awaitable, Callable, Iterable

from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import TopicPartition

from districam_common.kafka.records import Partition

OnChange = Callable[[frozenset[Partition]], Awaitable[None]]


class Listener(ConsumerRebalanceListener):
    """aiokafka's callbacks, in our types."""

    def __init__(self, when_revoked: OnChange, when_assigned: OnChange) -> None:
        self._when_revoked = when_revoked
        self._when_assigned = when_assigned

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]  # it awaits coroutines
        self, revoked: Iterable[TopicPartition]
    ) -> None:
        await self._when_revoked(frozenset(Partition(*key) for key in revoked))

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Iterable[TopicPartition]
    ) -> None:
        await self._when_assigned(frozenset(Partition(*key) for key in assigned))


def own_assignor() -> type[StickyPartitionAssignor]:
    """A class a member. The sticky assignor's memory stands on the class: two members in one process would share it."""

    class OwnAssignor(StickyPartitionAssignor):
        member_assignment = None
        generation = StickyPartitionAssignor.DEFAULT_GENERATION_ID
        _latest_partition_movements = None

    return OwnAssignor
