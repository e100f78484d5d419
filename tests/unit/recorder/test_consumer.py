"""The consumer loop with a fake group member and fake clocks."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract import names, wire
from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Committed, MembershipLost, OffsetOutOfRange, Partition, Record, mark_of
from districam_common.runtime.service import Runtime
from districam_recorder.consumer import Consumer
from districam_recorder.core.assembler import Segment
from districam_recorder.core.checkpoint import decode_checkpoint
from districam_recorder.core.effects import Effect, Truncation
from districam_recorder.core.partition_log import MAX_FRAGMENT_DELAY_US
from districam_recorder.settings import RecorderSettings, Settings
from support.fragments import T0, S, epoch_id, fragment

if TYPE_CHECKING:
    from districam_common.kafka.consumer import GroupConsumer
    from districam_recorder.effect_executor import EffectExecutor

E = epoch_id(1)
P = Partition(names.FRAGMENTS, 7)
HOUR_US = 3600 * S
STABLE_S = 60


@dataclass
class FakeClock:
    """This host's clocks; the wall clock is an hour ahead of the broker's."""

    at_us: int = 1000 * S
    wall_us: int = T0 + HOUR_US

    def now_us(self) -> int:
        return self.wall_us

    def monotonic_us(self) -> int:
        return self.at_us

    def advance(self, us: int) -> None:
        self.at_us += us
        self.wall_us += us


@dataclass
class World:
    """A partition's log, the group's commits and a store: a fake of everything that `Consumer` calls."""

    clock: FakeClock = field(default_factory=FakeClock)
    log: list[Record] = field(default_factory=list[Record])
    commits: dict[Partition, Committed] = field(default_factory=dict[Partition, Committed])
    executed: list[Effect] = field(default_factory=list[Effect])
    position: int = 0
    after: Mark | None = None
    beginning: int = 0
    away: bool = False  # the partition's leader does not answer; the group's coordinator does
    trouble: Exception | None = None

    def append(self, one: Fragment, append_us: int) -> None:
        message = wire.fragment_message(one, site="here")
        record = Record(*P, len(self.log), append_us, message.key, message.value, tuple(message.headers))
        self.log.append(record)

    # the member of the group

    async def poll(self, *, timeout_s: float) -> dict[Partition, list[Record]]:
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        if self.away:
            return {}
        if not self.beginning <= self.position <= len(self.log) or not self._is_there(self.after):
            raise OffsetOutOfRange({P: self.position})
        new, self.position = self.log[self.position :], len(self.log)
        self.after = mark_of(new[-1]) if new else self.after
        return {P: new} if new else {}

    def _is_there(self, mark: Mark | None) -> bool:
        if mark is None or mark.offset < self.beginning:
            return True
        return mark.offset < len(self.log) and mark_of(self.log[mark.offset]) == mark

    async def first_surviving_marks(self, asked: Mapping[Partition, Sequence[Mark]]) -> dict[Partition, Mark | None]:
        return {p: next((mark for mark in marks if self._is_there(mark)), None) for p, marks in asked.items()}

    async def committed(self, asked: Iterable[Partition]) -> dict[Partition, Committed | None]:
        return {partition: self.commits.get(partition) for partition in asked}

    async def beginning_offsets(self, asked: Iterable[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(asked, self.beginning)

    async def available_end_offsets(self, asked: Iterable[Partition]) -> dict[Partition, int]:
        if self.away:
            return {}  # another partition's leader answers
        return dict.fromkeys(asked, len(self.log))

    async def commit(self, committing: Mapping[Partition, Committed]) -> None:
        self.commits |= committing

    def leader(self, partition: Partition) -> int:
        return 1

    def last_contact_us(self) -> int:
        return self.clock.at_us

    def position_of(self, _: Partition) -> int:
        return self.position

    def seek(self, partition: Partition, offset: int, *, after: Mark | None = None) -> None:
        self.position, self.after = offset, after

    def is_verified(self, partition: Partition) -> bool:
        return True

    def pause(self, some: Iterable[Partition]) -> None:
        assert not list(some)

    resume = pause

    # the store

    async def execute(self, effect: Effect, partition: int, turn: asyncio.Event) -> None:
        await turn.wait()
        self.executed.append(effect)

    # for assertions

    @property
    def log_us(self) -> int:
        return decode_checkpoint(self.commits[P].metadata).log_us


class _Member:
    """The world as a group member: `position` is a field there, and a method here."""

    def __init__(self, world: World) -> None:
        self._world = world

    def position(self, partition: Partition) -> int:
        return self._world.position_of(partition)

    def __getattr__(self, name: str) -> object:
        return getattr(self._world, name)


@asynccontextmanager
async def consuming(world: World, contact_s: float = STABLE_S) -> AsyncGenerator[Consumer]:
    settings = Settings(recorder=RecorderSettings(contact_s=contact_s))
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        consumer = Consumer(
            cast("GroupConsumer", _Member(world)),
            cast("EffectExecutor", world),
            tasks,
            settings,
            Runtime("recorder", clock=world.clock),
        )
        await consumer.on_assigned(frozenset({P}))
        yield consumer
        await consumer.on_revoked(frozenset({P}))


async def turn(consumer: Consumer, world: World, us: int = 5 * S) -> None:
    """Advances the clocks, polls once and runs a round of commits."""
    world.clock.advance(us)
    await consumer._run_once()  # pyright: ignore[reportPrivateUsage]  # a step of `run`, which never ends
    await consumer._commit_round()  # pyright: ignore[reportPrivateUsage]
    await asyncio.sleep(0.01)


async def test_a_step_of_the_wall_clock_closes_no_segment():
    world = World()
    async with consuming(world) as consumer:
        world.append(fragment("c", E, 0), T0)
        await turn(consumer, world)
        for step_us in (HOUR_US, -2 * HOUR_US):
            world.clock.wall_us += step_us
            await turn(consumer, world, us=S)
            assert world.executed == []
        for _ in range(3):
            await turn(consumer, world)
        assert len(world.executed) == 1
        await turn(consumer, world)
    assert world.commits[P].offset == 1


@pytest.mark.correctness
async def test_records_skipped_by_a_poll_are_read_before_later_ones():
    world = World()
    async with consuming(world) as consumer:
        for seq in range(4):
            world.append(fragment("c", E, seq, ends="epoch" if seq == 3 else None), T0 + seq * S)
        world.position = 2  # the first two were fetched and then lost in an error
        for _ in range(3):
            await turn(consumer, world)
        stored = [effect for effect in world.executed if isinstance(effect, Segment)]
        assert [one.info.seq for segment in stored for one in segment.fragments] == [0, 1, 2, 3]
    assert world.commits[P].offset == 4


@pytest.mark.correctness
async def test_a_failed_kafka_client_ends_the_membership_and_not_the_recorder():
    world = World(trouble=MembershipLost("ended"))
    async with consuming(world) as consumer:
        with pytest.raises(MembershipLost):
            await consumer.run()


async def test_the_watermark_is_in_the_brokers_time():
    world = World()
    async with consuming(world) as consumer:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        for _ in range(STABLE_S // 5 + 3):
            await turn(consumer, world)
        assert world.executed
        seen_us = world.clock.at_us - (1000 * S + 5 * S)
        assert world.log_us == T0 + seen_us


async def test_the_watermark_waits_for_contact_s_of_unbroken_contact():
    world = World(commits={P: Committed(0, '{"log_us": 17, "seq": {}}')})
    async with consuming(world) as consumer:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        await turn(consumer, world)
        began_us = world.clock.at_us
        while world.clock.at_us - began_us < (STABLE_S - 5) * S:
            await turn(consumer, world)
            assert world.log_us == 17
        assert world.commits[P].offset == 1
        await turn(consumer, world)
        assert world.log_us >= T0


async def test_a_revoked_partition_is_never_committed():
    world = World()
    async with consuming(world) as consumer:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        await turn(consumer, world)
        await turn(consumer, world)
        assert world.commits.pop(P).offset == 1
        await consumer.on_revoked(frozenset({P}))
        await turn(consumer, world)
    assert world.commits == {}


# ---- truncated logs

NEW = epoch_id(2)


def stored(world: World, epoch: str) -> list[int]:
    segments = [effect for effect in world.executed if isinstance(effect, Segment)]
    return [one.info.seq for s in segments for one in s.fragments if one.info.epoch == epoch]


def truncations(world: World) -> list[tuple[int, int]]:
    return [
        (truncation.from_us, truncation.to_us) for truncation in world.executed if isinstance(truncation, Truncation)
    ]


async def store_ten(world: World) -> None:
    """A recorder stores ten fragments and stops."""
    async with consuming(world, contact_s=0) as consumer:
        for seq in range(10):
            world.append(fragment("c", E, seq, starts=seq % 5 == 0), T0 + 2 * S * seq + 2 * S)
            await turn(consumer, world, us=2 * S)
        for _ in range(6):  # until the last segment is idle
            await turn(consumer, world)
    assert stored(world, E) == list(range(10))
    assert world.commits[P].offset == 10


def truncate_tail_and_append(world: World, keep: int, new: int) -> None:
    del world.log[keep:]
    for seq in range(new):
        ends = "epoch" if seq == new - 1 else None
        one = fragment("c", NEW, seq, starts=seq == 0, start_us=T0 + 60 * S + 2 * S * seq, ends=ends)
        world.append(one, T0 + 62 * S + 2 * S * seq)


@pytest.mark.correctness
@pytest.mark.parametrize("new", [1, 5, 8])
async def test_offsets_reused_after_a_tail_truncation_are_read_again(new: int):
    world = World()
    await store_ten(world)
    truncate_tail_and_append(world, keep=5, new=new)
    async with consuming(world, contact_s=0) as consumer:
        for _ in range(4):
            await turn(consumer, world)
    assert stored(world, NEW) == list(range(new))
    assert stored(world, E) == list(range(10)), "stored a second time"
    assert world.commits[P].offset == len(world.log)
    # from the last time at which all was stored, less the delay of fragments in flight, to the first new record
    assert truncations(world) == [(T0 + 50 * S - MAX_FRAGMENT_DELAY_US, T0 + 62 * S)]


@pytest.mark.correctness
async def test_records_lost_from_the_log_after_they_were_read_are_stored():
    world = World()
    async with consuming(world, contact_s=0) as consumer:
        for seq in range(6):
            world.append(fragment("c", E, seq, starts=seq == 0), T0 + 2 * S * seq + 2 * S)
        await turn(consumer, world, us=S)
        del world.log[3:]
        world.append(fragment("c", E, 6, ends="epoch"), T0 + 60 * S)
        for _ in range(3):
            await turn(consumer, world, us=S)
    assert stored(world, E) == list(range(7))


@pytest.mark.correctness
async def test_a_tail_truncation_is_reported_although_the_recorder_that_detected_it_dies():
    world = World()
    await store_ten(world)
    truncate_tail_and_append(world, keep=5, new=8)
    news, world.log = world.log[5:], world.log[:5]
    async with consuming(world, contact_s=0) as consumer:
        for _ in range(2):  # reads the survivors and commits; no new record ends the truncation
            await consumer._run_once()  # pyright: ignore[reportPrivateUsage]
            await consumer._commit({}, [])  # pyright: ignore[reportPrivateUsage]
    assert truncations(world) == []
    world.log += news
    async with consuming(world, contact_s=0) as consumer:
        for _ in range(4):
            await turn(consumer, world)
    assert stored(world, NEW) == list(range(8))
    assert len(truncations(world)) == 1


@pytest.mark.correctness
async def test_a_log_that_begins_after_offset_zero_is_truncated_even_without_a_commit():
    world = World()
    for seq in range(3):
        world.append(fragment("c", E, seq, starts=seq == 0), T0 + 2 * S * seq)
    world.beginning = 2
    async with consuming(world) as consumer:
        await turn(consumer, world)
    assert truncations(world) == [(0, T0 + 4 * S)]


@pytest.mark.correctness
async def test_a_head_truncation_begins_at_since_us_of_a_commit_within_contact_s():
    world = World()
    async with consuming(world) as consumer:
        for seq in range(3):
            world.append(fragment("c", E, seq, starts=True), T0 + 2 * S * seq + 2 * S)
            await turn(consumer, world, us=2 * S)
    assert (world.commits[P].offset, world.log_us) == (1, 0)
    for seq in range(3, 9):
        world.append(fragment("c", E, seq, starts=True), T0 + 2 * S * seq + 2 * S)
    world.beginning, world.executed = 8, []
    async with consuming(world) as consumer:
        await turn(consumer, world)
    assert truncations(world) == [(T0 + 2 * S - MAX_FRAGMENT_DELAY_US, T0 + 18 * S)]


@pytest.mark.correctness
@pytest.mark.parametrize("away_s", [15, 120])
async def test_the_watermark_waits_for_the_partitions_leader_and_not_for_the_coordinator(away_s: int):
    world = World()
    async with consuming(world) as consumer:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        for _ in range(STABLE_S // 5 + 3):
            await turn(consumer, world)
        before_us = world.log_us
        assert before_us > T0
        world.away = True
        for _ in range(away_s // 5):
            await turn(consumer, world)
        world.away = False
        await turn(consumer, world)
        back_us, frozen_us = world.clock.at_us, world.log_us
        while world.clock.at_us - back_us < (STABLE_S - 5) * S:
            await turn(consumer, world)
            assert world.log_us == frozen_us
        assert frozen_us == before_us
        await turn(consumer, world)
        assert world.log_us > frozen_us
