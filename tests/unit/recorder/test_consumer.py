"""The loop against a group that is stood in for by hand, with both of this host's clocks in the test's hand."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract import names, wire
from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import (
    Committed,
    MembershipLost,
    OffsetOutOfRange,
    Partition,
    Record,
    mark_of,
)
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
class HandClock:
    """This host's clocks; the wall's is an hour ahead of the broker's."""

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
    """A partition's log, the group's commits and a store: all that `Consumption` asks of its neighbours."""

    clock: HandClock = field(default_factory=HandClock)
    log: list[Record] = field(default_factory=list[Record])
    commits: dict[Partition, Committed] = field(default_factory=dict[Partition, Committed])
    executed: list[Effect] = field(default_factory=list[Effect])
    position: int = 0
    after: Mark | None = None
    beginning: int = 0
    away: bool = False  # the leader of the partition; the group's coordinator answers
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

    # what is asked of it

    @property
    def log_us(self) -> int:
        return decode_checkpoint(self.commits[P].metadata).log_us


class _Member:
    """The world as a member of the group; its log's position is a field there, and a method here."""

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
        consumption = Consumer(
            cast("GroupConsumer", _Member(world)),
            cast("EffectExecutor", world),
            tasks,
            settings,
            Runtime("recorder", clock=world.clock),
        )
        await consumption.on_assigned(frozenset({P}))
        yield consumption
        await consumption.on_revoked(frozenset({P}))


async def turn(consumption: Consumer, world: World, us: int = 5 * S) -> None:
    """Time goes on; the loop reads, and does a round of commits."""
    world.clock.advance(us)
    await consumption._run_once()  # pyright: ignore[reportPrivateUsage]  # a step of `run`, which never ends
    await consumption._commit_round()  # pyright: ignore[reportPrivateUsage]
    await asyncio.sleep(0.01)


async def test_a_wall_clock_that_steps_closes_nothing():
    world = World()
    async with consuming(world) as consumption:
        world.append(fragment("c", E, 0), T0)
        await turn(consumption, world)
        for step_us in (HOUR_US, -2 * HOUR_US):
            world.clock.wall_us += step_us
            await turn(consumption, world, us=S)
            assert world.executed == []
        for _ in range(3):
            await turn(consumption, world)
        assert len(world.executed) == 1
        await turn(consumption, world)
    assert world.commits[P].offset == 1


@pytest.mark.correctness
async def test_records_that_were_given_to_nobody_are_read_before_what_came_behind_them():
    world = World()
    async with consuming(world) as consumption:
        for seq in range(4):
            world.append(fragment("c", E, seq, ends="epoch" if seq == 3 else None), T0 + seq * S)
        world.position = 2  # the first two were taken out of an answer, and lost with an error
        for _ in range(3):
            await turn(consumption, world)
        stored = [effect for effect in world.executed if isinstance(effect, Segment)]
        assert [one.info.seq for segment in stored for one in segment.fragments] == [0, 1, 2, 3]
    assert world.commits[P].offset == 4


@pytest.mark.correctness
async def test_a_client_that_has_ended_inside_ends_the_membership_and_not_the_recorder():
    world = World(trouble=MembershipLost("ended"))
    async with consuming(world) as consumption:
        with pytest.raises(MembershipLost):
            await consumption.run()


async def test_how_far_the_log_is_stored_goes_by_the_brokers_clock():
    world = World()
    async with consuming(world) as consumption:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        for _ in range(STABLE_S // 5 + 3):
            await turn(consumption, world)
        assert world.executed
        seen_us = world.clock.at_us - (1000 * S + 5 * S)
        assert world.log_us == T0 + seen_us


async def test_how_far_the_log_is_stored_waits_for_a_minute_of_contact():
    world = World(commits={P: Committed(0, '{"log_us": 17, "seq": {}}')})
    async with consuming(world) as consumption:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        await turn(consumption, world)
        began_us = world.clock.at_us
        while world.clock.at_us - began_us < (STABLE_S - 5) * S:
            await turn(consumption, world)
            assert world.log_us == 17
        assert world.commits[P].offset == 1
        await turn(consumption, world)
        assert world.log_us >= T0


async def test_what_was_taken_away_is_never_committed():
    world = World()
    async with consuming(world) as consumption:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        await turn(consumption, world)
        await turn(consumption, world)
        assert world.commits.pop(P).offset == 1
        await consumption.on_revoked(frozenset({P}))
        await turn(consumption, world)
    assert world.commits == {}


# ---- a log that is not the one that was read

NEW = epoch_id(2)


def stored(world: World, epoch: str) -> list[int]:
    segments = [effect for effect in world.executed if isinstance(effect, Segment)]
    return [one.info.seq for s in segments for one in s.fragments if one.info.epoch == epoch]


def falls(world: World) -> list[tuple[int, int]]:
    return [(fall.from_us, fall.to_us) for fall in world.executed if isinstance(fall, Truncation)]


async def ten_are_stored(world: World) -> None:
    """A recorder stores ten fragments, and leaves."""
    async with consuming(world, contact_s=0) as consumption:
        for seq in range(10):
            world.append(fragment("c", E, seq, starts=seq % 5 == 0), T0 + 2 * S * seq + 2 * S)
            await turn(consumption, world, us=2 * S)
        for _ in range(6):  # until the last segment is idle
            await turn(consumption, world)
    assert stored(world, E) == list(range(10))
    assert world.commits[P].offset == 10


def the_log_loses_its_tail_and_grows_again(world: World, keep: int, new: int) -> None:
    del world.log[keep:]
    for seq in range(new):
        ends = "epoch" if seq == new - 1 else None
        one = fragment("c", NEW, seq, starts=seq == 0, start_us=T0 + 60 * S + 2 * S * seq, ends=ends)
        world.append(one, T0 + 62 * S + 2 * S * seq)


@pytest.mark.correctness
@pytest.mark.parametrize("new", [1, 5, 8])
async def test_offsets_that_are_used_twice_are_read_twice(new: int):
    world = World()
    await ten_are_stored(world)
    the_log_loses_its_tail_and_grows_again(world, keep=5, new=new)
    async with consuming(world, contact_s=0) as consumption:
        for _ in range(4):
            await turn(consumption, world)
    assert stored(world, NEW) == list(range(new))
    assert stored(world, E) == list(range(10)), "stored a second time"
    assert world.commits[P].offset == len(world.log)
    # from before where all was stored (what was on its way then had begun) to the first new record
    assert falls(world) == [(T0 + 50 * S - MAX_FRAGMENT_DELAY_US, T0 + 62 * S)]


@pytest.mark.correctness
async def test_what_was_read_of_a_log_that_then_lost_it_is_stored():
    world = World()
    async with consuming(world, contact_s=0) as consumption:
        for seq in range(6):
            world.append(fragment("c", E, seq, starts=seq == 0), T0 + 2 * S * seq + 2 * S)
        await turn(consumption, world, us=S)
        del world.log[3:]
        world.append(fragment("c", E, 6, ends="epoch"), T0 + 60 * S)
        for _ in range(3):
            await turn(consumption, world, us=S)
    assert stored(world, E) == list(range(7))


@pytest.mark.correctness
async def test_a_tear_is_told_although_the_recorder_that_noticed_it_dies():
    world = World()
    await ten_are_stored(world)
    the_log_loses_its_tail_and_grows_again(world, keep=5, new=8)
    news, world.log = world.log[5:], world.log[:5]
    async with consuming(world, contact_s=0) as consumption:
        for _ in range(2):  # reads what is left, and commits; nothing new to tell the tear's end by
            await consumption._run_once()  # pyright: ignore[reportPrivateUsage]
            await consumption._commit({}, [])  # pyright: ignore[reportPrivateUsage]
    assert falls(world) == []
    world.log += news
    async with consuming(world, contact_s=0) as consumption:
        for _ in range(4):
            await turn(consumption, world)
    assert stored(world, NEW) == list(range(8))
    assert len(falls(world)) == 1


@pytest.mark.correctness
async def test_a_log_that_begins_behind_its_start_has_fallen_though_nothing_was_ever_committed():
    world = World()
    for seq in range(3):
        world.append(fragment("c", E, seq, starts=seq == 0), T0 + 2 * S * seq)
    world.beginning = 2
    async with consuming(world) as consumption:
        await turn(consumption, world)
    assert falls(world) == [(0, T0 + 4 * S)]


@pytest.mark.correctness
async def test_a_fall_begins_where_the_commit_of_a_recorders_first_minute_stood():
    world = World()
    async with consuming(world) as consumption:
        for seq in range(3):
            world.append(fragment("c", E, seq, starts=True), T0 + 2 * S * seq + 2 * S)
            await turn(consumption, world, us=2 * S)
    assert (world.commits[P].offset, world.log_us) == (1, 0)
    for seq in range(3, 9):
        world.append(fragment("c", E, seq, starts=True), T0 + 2 * S * seq + 2 * S)
    world.beginning, world.executed = 8, []
    async with consuming(world) as consumption:
        await turn(consumption, world)
    assert falls(world) == [(T0 + 2 * S - MAX_FRAGMENT_DELAY_US, T0 + 18 * S)]


@pytest.mark.correctness
@pytest.mark.parametrize("away_s", [15, 120])
async def test_how_far_the_log_is_stored_waits_for_the_partitions_leader_and_not_for_the_coordinator(
    away_s: int,
):
    world = World()
    async with consuming(world) as consumption:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        for _ in range(STABLE_S // 5 + 3):
            await turn(consumption, world)
        before_us = world.log_us
        assert before_us > T0
        world.away = True
        for _ in range(away_s // 5):
            await turn(consumption, world)
        world.away = False
        await turn(consumption, world)
        back_us, stood_us = world.clock.at_us, world.log_us
        while world.clock.at_us - back_us < (STABLE_S - 5) * S:
            await turn(consumption, world)
            assert world.log_us == stood_us
        assert stood_us == before_us
        await turn(consumption, world)
        assert world.log_us > stood_us
