"""The loop against a group that is stood in for by hand, with both of this host's clocks in the test's hand."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from districam_common import names, wire
from districam_common.kafka.records import Committed, Partition, Record
from districam_common.media import Fragment
from districam_common.service import Runtime
from districam_recorder.consume import Consumption
from districam_recorder.core.checkpoint import parse
from districam_recorder.core.effects import Effect
from districam_recorder.settings import RecorderSettings, Settings
from support.fragments import T0, S, epoch_id, fragment

if TYPE_CHECKING:
    from districam_common.kafka.consumer import Member
    from districam_recorder.store import Store

E = epoch_id(1)
P = Partition(names.FRAGMENTS, 7)
HOUR_US = 3600 * S
CONTACT_S = 60


@dataclass
class HandClock:
    """This host's clocks; the wall's is an hour ahead of the broker's."""

    at_us: int = 1000 * S
    wall_us: int = T0 + HOUR_US

    def now_us(self) -> int:
        return self.wall_us

    def monotonic_us(self) -> int:
        return self.at_us

    def goes_on(self, us: int) -> None:
        self.at_us += us
        self.wall_us += us


@dataclass
class World:
    """A partition's log, the group's commits and a store: all that `Consumption` asks of its neighbours."""

    clock: HandClock = field(default_factory=HandClock)
    log: list[Record] = field(default_factory=list[Record])
    commits: dict[Partition, Committed] = field(default_factory=dict[Partition, Committed])
    carried_out: list[Effect] = field(default_factory=list[Effect])
    position: int = 0

    def append(self, one: Fragment, append_us: int) -> None:
        message = wire.fragment_message(one, site="here")
        record = Record(*P, len(self.log), append_us, message.key, message.value, tuple(message.headers))
        self.log.append(record)

    # the member of the group

    async def poll(self, *, timeout_s: float) -> dict[Partition, list[Record]]:
        await asyncio.sleep(0)
        new, self.position = self.log[self.position :], len(self.log)
        return {P: new} if new else {}

    async def committed(self, asked: Iterable[Partition]) -> dict[Partition, Committed | None]:
        return {partition: self.commits.get(partition) for partition in asked}

    async def beginnings(self, asked: Iterable[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(asked, 0)

    async def ends(self, asked: Iterable[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(asked, len(self.log))

    async def commit(self, committing: Mapping[Partition, Committed]) -> None:
        self.commits |= committing

    def contact_us(self) -> int:
        return self.clock.at_us

    def seek(self, partition: Partition, offset: int) -> None:
        self.position = offset

    def pause(self, some: Iterable[Partition]) -> None:
        assert not list(some)

    resume = pause

    # the store

    async def carry_out(self, effect: Effect, partition: int, turn: asyncio.Event) -> None:
        await turn.wait()
        self.carried_out.append(effect)

    # what is asked of it

    @property
    def log_us(self) -> int:
        return parse(self.commits[P].metadata).log_us


@asynccontextmanager
async def consuming(world: World) -> AsyncGenerator[Consumption]:
    settings = Settings(recorder=RecorderSettings(contact_s=CONTACT_S))
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        consumption = Consumption(
            cast("Member", world),
            cast("Store", world),
            tasks,
            settings,
            Runtime("recorder", clock=world.clock),
        )
        await consumption.assigned(frozenset({P}))
        yield consumption
        await consumption.revoked(frozenset({P}))


async def turn(consumption: Consumption, world: World, us: int = 5 * S) -> None:
    """Time goes on; the loop reads, and does a round of commits."""
    world.clock.goes_on(us)
    await consumption._turn()  # pyright: ignore[reportPrivateUsage]  # a step of `run`, which never ends
    await consumption._round()  # pyright: ignore[reportPrivateUsage]
    await asyncio.sleep(0.01)


async def test_a_wall_clock_that_steps_closes_nothing():
    world = World()
    async with consuming(world) as consumption:
        world.append(fragment("c", E, 0), T0)
        await turn(consumption, world)
        for step_us in (HOUR_US, -2 * HOUR_US):
            world.clock.wall_us += step_us
            await turn(consumption, world, us=S)
            assert world.carried_out == []
        for _ in range(3):
            await turn(consumption, world)
        assert len(world.carried_out) == 1
        await turn(consumption, world)
    assert world.commits[P].offset == 1


async def test_how_far_the_log_is_stored_goes_by_the_brokers_clock():
    world = World()
    async with consuming(world) as consumption:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        for _ in range(CONTACT_S // 5 + 3):
            await turn(consumption, world)
        assert world.carried_out
        seen_us = world.clock.at_us - (1000 * S + 5 * S)
        assert world.log_us == T0 + seen_us


async def test_how_far_the_log_is_stored_waits_for_a_minute_of_contact():
    world = World(commits={P: Committed(0, '{"log_us": 17, "seq": {}}')})
    async with consuming(world) as consumption:
        world.append(fragment("c", E, 0, ends="epoch"), T0)
        await turn(consumption, world)
        began_us = world.clock.at_us
        while world.clock.at_us - began_us < (CONTACT_S - 5) * S:
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
        await consumption.revoked(frozenset({P}))
        await turn(consumption, world)
    assert world.commits == {}
