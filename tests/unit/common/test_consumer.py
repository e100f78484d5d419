"""Arguments of a group member's consumer: its assignor decides which partitions a rebalance moves; it has no auto commit."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# `create_consumer` is not public:
# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.structs import TopicPartition

from districam_common.kafka.rebalance_listener import create_consumer
from districam_common.runtime.settings import KafkaSettings

TOPIC, PARTITIONS = "cameras", 60

Assignment = Mapping[str, frozenset[TopicPartition]]


class Cluster(ClusterMetadata):
    """Cluster metadata with one topic."""

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(PARTITIONS)) if topic == TOPIC else None

    def topics(self, exclude_internal_topics: bool = True) -> set[str]:  # noqa: FBT001, FBT002  # the library's
        return {TOPIC}


@asynccontextmanager
async def consumer(name: str) -> AsyncGenerator[AIOKafkaConsumer]:
    """As `GroupConsumer` creates it; never connected."""
    made = create_consumer(KafkaSettings(session_timeout_s=10.0), "tests", name, 1 << 20)
    try:
        yield made
    finally:
        await made.stop()


async def assignor_of(name: str) -> Any:
    async with consumer(name) as made:
        (assignor,) = made._partition_assignment_strategy
        return assignor


def rebalanced(members: Mapping[str, Any]) -> Assignment:
    """A rebalance with the first member as group leader, as the client's coordinator performs it."""
    metadata = {name: assignor.metadata({TOPIC}) for name, assignor in members.items()}
    leader = next(iter(members.values()))
    assigned = leader.assign(Cluster(), metadata)
    for name, assignor in members.items():
        assignor.on_assignment(assigned[name])
    return {name: frozenset(one.partitions()) for name, one in assigned.items()}


def moved_between(before: Assignment, after: Assignment) -> int:
    """Partitions that moved from one earlier member to another."""
    owners = {partition: name for name, held in after.items() for partition in held}
    return sum(
        owners[partition] != name and owners[partition] in before for name, held in before.items() for partition in held
    )


async def test_a_new_member_moves_no_partition_between_the_others() -> None:
    members = {f"replica-{n}": await assignor_of(f"replica-{n}") for n in range(3)}
    before = rebalanced(members)
    after = rebalanced({**members, "replica-3": await assignor_of("replica-3")})
    assert sorted(map(len, after.values())) == [15] * 4
    assert sum(map(len, after.values())) == len(frozenset().union(*after.values())) == PARTITIONS
    assert moved_between(before, after) == 0


async def test_the_default_assignor_would_move_many_partitions() -> None:
    """Shows that the test above can fail."""
    members = dict.fromkeys([f"replica-{n}" for n in range(3)], RoundRobinPartitionAssignor)
    before = rebalanced(members)
    after = rebalanced({**members, "replica-3": RoundRobinPartitionAssignor})
    assert moved_between(before, after) > PARTITIONS // 4


async def test_a_leaving_member_takes_no_partition_from_the_others() -> None:
    members = {f"replica-{n}": await assignor_of(f"replica-{n}") for n in range(4)}
    before = rebalanced(members)
    del members["replica-3"]
    after = rebalanced(members)
    assert all(before[name] <= held for name, held in after.items())


async def test_members_of_one_process_do_not_share_assignor_state() -> None:
    first, second = await assignor_of("first"), await assignor_of("second")
    rebalanced({"first": first})
    assert first.member_assignment
    assert not second.member_assignment


async def test_a_member_has_no_auto_commit_and_no_offset_reset() -> None:
    async with consumer("replica") as made:
        assert not made._enable_auto_commit
        assert made._auto_offset_reset == "none"
