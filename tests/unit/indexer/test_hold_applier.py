"""Rounds of holds use a bounded number of requests, continue where they ended, and no hold delays the next one."""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client import REGISTRY

from districam_common.contract import names, wire
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.errors import DistricamError, Fatal, Retriable
from districam_common.ledger.holds import Hold, HoldState
from districam_common.runtime.health import Health
from districam_common.s3.blobs import ObjectNotFound
from districam_common.s3.versioned_bucket import ObjectVersion
from districam_indexer.core.hold_rules import AnnouncedIntervals
from districam_indexer.hold_applier import REQUESTS_PER_HOLD, REQUESTS_PER_ROUND, RESCAN_REQUESTS_PER_ROUND, HoldApplier
from support.announcements import NOON_US, S, segment

if TYPE_CHECKING:
    from districam_common.index.hold_cache import HoldCache
    from districam_indexer.consumer import Consumer
    from districam_indexer.dependencies import Dependencies

pytestmark = [pytest.mark.correctness, pytest.mark.timeout(60)]
MIDNIGHT_US = NOON_US // DAY_US * DAY_US


def hold(letter: str, camera_id: str, *, days: float = 1 / 24, from_us: int = NOON_US) -> Hold:
    return Hold(
        id=letter * 16, camera_id=camera_id, from_us=from_us, to_us=from_us + round(days * DAY_US), reason="r",
        placed_by="k", placed_us=1,
    )  # fmt: skip


@dataclass
class World:
    """A fake store with holds and versions, an empty index and a fake clock; counts every request."""

    holds: list[Hold]
    stored: dict[str, list[ObjectVersion]] = field(default_factory=dict[str, list[ObjectVersion]])
    held: set[tuple[str, str | None]] = field(default_factory=set[tuple[str, str | None]])
    enforces: bool | None = True
    refusing: dict[str, DistricamError] = field(default_factory=dict[str, DistricamError])
    listings: int = 0
    puts: int = 0
    probes: int = 0
    now: int = 1
    states: dict[str, HoldState] = field(default_factory=dict[str, HoldState])
    arrivals: AnnouncedIntervals = field(default_factory=AnnouncedIntervals)
    health: Health = field(default_factory=Health)

    def store(self, camera_id: str, *starts_us: int) -> None:
        for at_us in starts_us:
            one = segment(camera_id, start_us=at_us, duration_us=10 * S, size=100)
            hour = names.hour_prefix(camera_id, at_us)
            self.stored.setdefault(hour, []).append(
                ObjectVersion(one.key, f"v{at_us}", 100, is_delete_marker=False, is_latest=True)
            )

    def announce(self, camera_id: str, at_us: int) -> None:
        self.store(camera_id, at_us)
        self.arrivals.feed(segment(camera_id, start_us=at_us, duration_us=10 * S, size=100))

    # ---- the store

    async def get(self, key: str) -> bytes:
        return next(wire.encode_json(one) for one in self.holds if names.hold_key(one.id) == key)

    async def common_prefixes(self, prefix: str) -> list[str]:
        self.listings += 1
        if error := self.refusing.get(prefix.partition("/")[0]):
            raise error
        return sorted(hour for hour in self.stored if hour.startswith(prefix))

    async def version_pages(self, prefix: str) -> AsyncIterator[list[ObjectVersion]]:
        self.listings += 1
        if prefix in self.stored:
            yield self.stored[prefix]

    async def enable_legal_hold(self, key: str, version: str) -> None:
        self.puts += 1
        if error := self.refusing.get(key):
            raise error
        self.held.add((key, version))

    async def enforces_legal_hold(self, name: str) -> bool | None:
        self.probes += 1
        return self.enforces

    # ---- the index and the rest

    async def holds_cached(self) -> dict[str, bytes]:
        return {}

    async def hold_states(self) -> dict[str, HoldState]:
        return dict(self.states)

    async def meta(self) -> None:
        """No index, so that no events are archived."""

    async def put_encoded(self, holds: Mapping[str, bytes]) -> None:
        """The cache is never read back here."""

    async def put_state(self, hold_id: str, state: HoldState) -> None:
        self.states[hold_id] = state

    async def delete(self, hold_ids: Collection[str]) -> None:
        """The cache is never read back here."""

    async def partitions(self, topic: str) -> int:
        return 1

    def now_us(self) -> int:
        return self.now

    def monotonic_us(self) -> int:
        return self.now

    async def list(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        assert prefix == names.HOLDS_PREFIX
        for one in self.holds:
            yield ObjectVersion(names.hold_key(one.id), None, 1, is_delete_marker=False, is_latest=True)


def create_applier(world: World) -> HoldApplier:
    runtime = SimpleNamespace(clock=world, instance="i", health=world.health)
    index = SimpleNamespace(holds=world.holds_cached, hold_states=world.hold_states, meta=world.meta)
    deps = SimpleNamespace(
        bucket=world, index=index, publisher=world, runtime=runtime, announced_intervals=world.arrivals
    )
    consumer = SimpleNamespace(segment_partitions=frozenset({0}))
    return HoldApplier(cast("Dependencies", deps), cast("Consumer", consumer), cast("HoldCache", world))


def states(world: World) -> list[tuple[str, int, int]]:
    return [(one.state, one.versions, one.held) for _, one in sorted(world.states.items())]


def protection() -> set[str]:
    """The protection states that the metric has as 1."""
    found = REGISTRY.get_sample_value
    names = ("enforced", "advisory", "unknown")
    return {one for one in names if found("districam_hold_protection", {"state": one})}


async def settle(applier: HoldApplier, rounds: int = 50) -> int:
    for n in range(rounds):
        if not await applier.run_round():
            return n + 1
    raise AssertionError("urgent work is left after all rounds")


async def test_a_round_of_a_months_hold_is_bounded_and_the_next_one_continues_it() -> None:
    world = World([hold("a", "cam-1", days=31, from_us=MIDNIGHT_US)])
    world.store("cam-1", *(MIDNIGHT_US + n * HOUR_US + m * 100 * S for n in range(31 * 24) for m in range(5)))
    applier = create_applier(world)
    assert await applier.run_round()
    assert world.listings + world.puts <= REQUESTS_PER_HOLD + 70
    assert world.states["a" * 16].state == "partial"
    await settle(applier)
    assert states(world) == [("enforced", 31 * 24 * 5, 31 * 24 * 5)]
    assert world.listings <= 33 + 31 * 24  # each day and each hour once


async def test_new_footage_in_an_open_window_costs_a_scan_of_its_hour_only() -> None:
    world = World([hold("a", "cam-1", days=31, from_us=MIDNIGHT_US)])
    world.store("cam-1", *(MIDNIGHT_US + n * HOUR_US for n in range(24)))
    applier = create_applier(world)
    await settle(applier)
    world.listings = world.puts = 0
    for n in range(20):
        world.now += 5 * S
        world.announce("cam-1", MIDNIGHT_US + DAY_US + n * 10 * S)
        await applier.run_round()
    assert (world.listings, world.puts) == (20, 20)
    assert states(world) == [("enforced", 44, 44)]


async def test_a_long_hold_does_not_delay_the_others() -> None:
    small = [hold(letter, f"cam-{letter}") for letter in "bcdef"]
    world = World([hold("a", "cam-1", days=31, from_us=MIDNIGHT_US), *small])
    world.store("cam-1", *(MIDNIGHT_US + n * HOUR_US for n in range(31 * 24)))
    for one in small:
        world.store(one.camera_id, NOON_US)
    await create_applier(world).run_round()
    assert [state for state, _, _ in states(world)] == ["partial", *["enforced"] * 5]


async def test_a_round_is_bounded_for_any_number_of_holds_and_each_has_its_turn() -> None:
    many = [replace(hold("a", f"cam-{n}"), id=f"{n:016x}") for n in range(2500)]
    world = World(many)
    applier = create_applier(world)
    assert await applier.run_round()
    assert world.listings <= REQUESTS_PER_ROUND + REQUESTS_PER_HOLD
    await settle(applier)
    assert len(world.states) == 2500
    assert {state for state, _, _ in states(world)} == {"enforced"}


@pytest.mark.parametrize("error", [Retriable("503"), Fatal("403"), ObjectNotFound("gone")])
async def test_a_version_that_cannot_be_held_does_not_affect_the_others(error: DistricamError) -> None:
    """A failed task of a TaskGroup raises an exception group, which `except Retriable` would not catch."""
    world = World([hold("a", "cam-1"), hold("b", "cam-2")])
    world.store("cam-1", NOON_US, NOON_US + 20 * S)
    world.store("cam-2", NOON_US)
    bad = world.stored[names.hour_prefix("cam-1", NOON_US)][0].key
    world.refusing[bad] = error
    applier = create_applier(world)
    for _ in range(3):
        try:
            await applier.run_round()
        except Retriable:
            continue
    assert states(world)[-1] == ("enforced", 1, 1)
    assert len(world.held) == 2
    del world.refusing[bad]
    world.now += 600 * S
    await settle(applier)
    assert states(world) == [("enforced", 2, 2), ("enforced", 1, 1)]


async def test_a_camera_whose_listing_fails_does_not_delay_the_next_one() -> None:
    world = World([hold("a", "cam-1"), hold("b", "cam-2")])
    world.store("cam-2", NOON_US)
    world.refusing["cam-1"] = Retriable("500")
    applier = create_applier(world)
    for _ in range(2):
        with pytest.raises(Retriable):
            await applier.run_round()
    assert states(world) == [("enforced", 1, 1)]


async def test_windows_are_rescanned_with_a_few_requests_per_round() -> None:
    world = World([hold("a", "cam-1", days=31, from_us=MIDNIGHT_US)])
    world.store("cam-1", *(MIDNIGHT_US + n * HOUR_US for n in range(31 * 24)))
    applier = create_applier(world)
    await settle(applier)
    world.listings = 0
    world.store("cam-1", MIDNIGHT_US + 3 * DAY_US + 60 * S)  # never announced
    world.now += 601 * S
    assert not await applier.run_round()
    assert 0 < world.listings <= RESCAN_REQUESTS_PER_ROUND
    for _ in range(20):
        await applier.run_round()
    assert states(world) == [("enforced", 31 * 24 + 1, 31 * 24 + 1)]
    before = world.listings
    await applier.run_round()
    assert world.listings == before  # not again before the interval


async def test_holds_are_advisory_and_health_says_so_while_the_probe_is_inconclusive() -> None:
    world = World([hold("a", "cam-1")], enforces=None)
    world.store("cam-1", NOON_US)
    applier = create_applier(world)
    await settle(applier)
    assert states(world) == [("advisory", 1, 0)]
    health = world.health.snapshot()["holds"]
    assert health.ok
    assert health.detail.startswith("advisory: it is unknown whether the store enforces")
    assert protection() == {"unknown"}
    await applier.run_round()
    assert world.probes == 1  # not in each round
    world.enforces = True
    world.now += 2 * S
    await settle(applier)
    assert states(world) == [("enforced", 1, 1)]
    assert world.health.snapshot()["holds"].detail == ""
    assert protection() == {"enforced"}


async def test_hold_states_are_written_again_to_an_emptied_index() -> None:
    world = World([hold("a", "cam-1")])
    applier = create_applier(world)
    await settle(applier)
    world.states.clear()
    await applier.run_round()
    assert len(world.states) == 1
