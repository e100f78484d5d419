"""Updates of the watermarks while recorders announce segments."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract import names
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Committed, Partition
from districam_indexer import watermark

if TYPE_CHECKING:
    from districam_common.kafka.consumer import KafkaInspector
    from districam_indexer.core.progress import TopicPartition
    from districam_indexer.dependencies import Dependencies

FRAGMENTS = Partition(names.FRAGMENTS, 0)
SEGMENTS, STREAMS = Partition(names.SEGMENTS, 0), Partition(names.STREAMS, 0)
RETENTION = Partition(names.RETENTION, 0)
OLD_US, NEW_US = 1_000, 2_000


@dataclass
class World:
    """One partition of each topic, and an index. `meanwhile` is called once, after the first read."""

    log_us: int = OLD_US
    tails: dict[Partition, int] = field(default_factory=lambda: {SEGMENTS: 5, STREAMS: 3, RETENTION: 2})
    applied: dict["TopicPartition", int] = field(default_factory=lambda: {SEGMENTS: 5, STREAMS: 3, RETENTION: 2})
    written: dict[int, int] = field(default_factory=dict[int, int])
    truncated: set[Partition] = field(default_factory=set[Partition])
    meanwhile: Callable[["World"], None] | None = None

    def _after_read(self) -> None:
        callback, self.meanwhile = self.meanwhile, None
        if callback is not None:
            callback(self)

    async def partitions(self, topic: str) -> list[Partition]:
        return [Partition(topic, 0)]

    async def committed(self, group: str, asked: Iterable[Partition]) -> dict[Partition, Committed | None]:
        assert group == names.RECORDER_GROUP
        found: dict[Partition, Committed | None] = {
            partition: Committed(0, f'{{"log_us": {self.log_us}}}') for partition in asked
        }
        self._after_read()
        return found

    async def end_offsets(self, asked: Iterable[Partition]) -> dict[Partition, int]:
        found = {partition: self.tails[partition] for partition in asked}
        self._after_read()
        return found

    async def read_marks(self) -> dict["TopicPartition", tuple[Mark, ...]]:
        return {partition: (Mark(at - 1, 0, ""),) for partition, at in self.applied.items()}

    async def verified_partitions(self, lasts: Mapping[Partition, Mark | None]) -> set[Partition]:
        assert all(last is not None for last in lasts.values())
        return set(lasts) - self.truncated

    async def advance_watermarks(
        self, decide: Callable[[Mapping["TopicPartition", int], Mapping[int, int]], Mapping[int, int]], *, build: str
    ) -> None:
        assert build == "first"
        self.written |= decide(self.applied, self.written)


def announce(world: World) -> None:
    """A recorder announce a segment and commits a later watermark."""
    world.tails[SEGMENTS] += 1
    world.log_us = NEW_US


async def update(world: World) -> None:
    deps = cast("Dependencies", SimpleNamespace(writer=world))
    await watermark.update_watermarks(deps, cast("KafkaInspector", world), build="first", partitions=1)


async def test_the_watermark_is_written_once_everything_is_applied():
    world = World()
    await update(world)
    assert world.written == {0: OLD_US}


async def test_announcements_during_an_update_hold_the_watermark_back():
    world = World(meanwhile=announce)
    await update(world)
    assert world.written.get(0, 0) <= OLD_US
    await update(world)
    assert world.written.get(0, 0) <= OLD_US
    world.applied[SEGMENTS] += 1
    await update(world)
    assert world.written == {0: NEW_US}


@pytest.mark.correctness
async def test_the_end_of_a_log_that_lost_its_tail_holds_the_watermark_back():
    world = World(truncated={SEGMENTS})
    await update(world)
    assert world.written == {}
    world.truncated = set()
    await update(world)
    assert world.written == {0: OLD_US}


@pytest.mark.hostile
async def test_expired_events_during_an_update_hold_the_watermark_back():
    world = World(meanwhile=lambda w: w.tails.update({RETENTION: 3}))
    await update(world)
    assert world.written == {}
    world.applied[RETENTION] = 3
    await update(world)
    assert world.written == {0: OLD_US}


async def test_an_index_built_for_another_number_of_partitions_is_not_updated():
    world = World()
    await watermark.update_watermarks(
        cast("Dependencies", SimpleNamespace(writer=world)), cast("KafkaInspector", world), build="first", partitions=2
    )
    assert world.written == {}


class CountingWorld(World):
    """Four partitions of `fragments`, two of each other topic; records what is read."""

    def __init__(self) -> None:
        both = {Partition(topic, n): 5 for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION) for n in (0, 1)}
        super().__init__(tails=dict(both), applied={**both})
        self.read: list[int] = []
        self.asked: set[Partition] = set()

    async def partitions(self, topic: str) -> list[Partition]:
        return [Partition(topic, n) for n in range(4 if topic == names.FRAGMENTS else 2)]

    async def committed(self, group: str, asked: Iterable[Partition]) -> dict[Partition, Committed | None]:
        asked = list(asked)
        self.read += [one.number for one in asked]
        return await super().committed(group, asked)

    async def end_offsets(self, asked: Iterable[Partition]) -> dict[Partition, int]:
        asked = list(asked)
        self.asked |= set(asked)
        return await super().end_offsets(asked)


@pytest.mark.correctness
async def test_each_replica_reads_the_commits_of_its_announcements_and_together_they_read_all():
    worlds = {n: CountingWorld() for n in (0, 1)}
    for n, world in worlds.items():
        deps = cast("Dependencies", SimpleNamespace(writer=world))
        await watermark.update_watermarks(
            deps, cast("KafkaInspector", world), build="first", partitions=4, owned=frozenset({n})
        )
        assert Partition(names.SEGMENTS, 1 - n) not in world.asked
    assert {n: sorted(world.written) for n, world in worlds.items()} == {0: [0, 2], 1: [1, 3]}
    assert {n: sorted(world.read) for n, world in worlds.items()} == {0: [0, 2], 1: [1, 3]}


@pytest.mark.correctness
async def test_a_replica_that_indexes_nothing_reads_nothing():
    world = CountingWorld()
    deps = cast("Dependencies", SimpleNamespace(writer=world))
    await watermark.update_watermarks(
        deps, cast("KafkaInspector", world), build="first", partitions=4, owned=frozenset()
    )
    assert (world.read, world.written) == ([], {})
