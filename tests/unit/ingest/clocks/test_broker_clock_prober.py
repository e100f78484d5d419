"""Every broker's clock is probed, and none of them can delay recording."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client import REGISTRY

from districam_common.contract import names, wire
from districam_common.contract.clock_probe import ClockProbe
from districam_common.errors import Fatal, Rejected, Retriable
from districam_common.kafka.producer import Ack
from districam_common.runtime.service import Runtime
from districam_ingest.clocks import broker_clock_prober
from districam_ingest.clocks.broker_clock_prober import PROBE_INTERVAL_US, BrokerClockProber
from districam_ingest.clocks.host_clock import HostClock

if TYPE_CHECKING:
    from districam_common.kafka.producer import Publisher

S = 1_000_000
TRUE_US = 1_790_000_000 * S

pytestmark = pytest.mark.correctness


@dataclass
class Clock:
    at_us: int = 100 * S
    off_us: int = 0

    def now_us(self) -> int:
        return TRUE_US + self.at_us + self.off_us

    def monotonic_us(self) -> int:
        return self.at_us


@dataclass
class Brokers:
    """Three brokers that lead four partitions, with `off_us`, their skews; those in `hangs` do not answer."""

    clock: Clock
    off_us: dict[int, int] = field(default_factory=dict[int, int])
    errors: dict[int, Exception] = field(default_factory=dict[int, Exception])
    hangs: set[int] = field(default_factory=set[int])
    missing: Exception | None = None
    asked: list[int] = field(default_factory=list[int])
    is_log_append: bool = True
    led_by: dict[int, int] = field(default_factory=lambda: {0: 1, 1: 2, 2: 3, 3: 1})

    async def leaders(self, topic: str) -> dict[int, int]:
        assert topic == names.CLOCKS
        if self.missing:
            raise self.missing
        return self.led_by

    async def publish(self, topic: str, message: wire.Message, *, partition: int) -> Ack:
        assert topic == names.CLOCKS
        assert wire.decode_json(ClockProbe, message.value).sent_us == self.clock.now_us()
        broker = self.led_by[partition]
        self.asked.append(broker)
        if broker in self.errors:
            raise self.errors[broker]
        if broker in self.hangs:
            await asyncio.Event().wait()
        append_us = TRUE_US + self.clock.at_us + self.off_us.get(broker, 0)
        return Ack(partition, 0, append_us, broker if self.is_log_append else None)


class World:
    def __init__(self, **brokers: object) -> None:
        self.clock = Clock()
        self.brokers = Brokers(self.clock)
        for name, value in brokers.items():
            setattr(self.brokers, name, value)
        self.host_clock = HostClock()
        self.prober = BrokerClockProber(
            cast("Publisher", self.brokers), self.host_clock, Runtime("ingest", clock=self.clock), site="here"
        )
        self.look()

    def look(self) -> None:
        self.host_clock.feed_host_time(self.clock.now_us(), self.clock.monotonic_us())

    @property
    def error_us(self) -> int:
        return self.host_clock.offset_us - TRUE_US


async def test_each_broker_is_probed_once_and_the_majority_counts():
    world = World(off_us={3: 90 * S})
    world.clock.off_us = 7 * 3600 * S
    world.look()
    await world.prober.probe_all()
    assert sorted(world.brokers.asked) == [1, 2, 3]
    assert abs(world.error_us) <= 2_000
    exported = {
        n: REGISTRY.get_sample_value("districam_ingest_broker_clock_apart_seconds", {"broker": str(n)})
        for n in (1, 2, 3)
    }
    assert exported == {1: 0, 2: 0, 3: pytest.approx(90, abs=0.01)}


@pytest.mark.parametrize("error", [Retriable("away"), Rejected("too large"), Fatal("not authorized")])
async def test_a_failed_probe_does_not_affect_the_others(error: Exception):
    world = World(errors={2: error})
    world.clock.off_us = -3600 * S
    world.look()
    await world.prober.probe_all()
    assert abs(world.error_us) <= 2_000


async def test_a_probe_that_hangs_times_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(broker_clock_prober, "PROBE_TIMEOUT_S", 0.05)
    world = World(hangs={1, 2, 3})
    async with asyncio.timeout(5):
        await world.prober.probe_all()
    assert world.error_us == 0


@pytest.mark.parametrize("error", [Retriable("no such topic"), Fatal("not authorized"), TimeoutError()])
async def test_without_the_topic_the_hosts_clock_is_not_corrected(error: Exception):
    world = World(missing=error)
    world.clock.off_us = 5 * S
    world.look()
    await world.prober.probe_all()
    assert world.error_us == 5 * S


async def test_a_topic_without_log_append_time_proves_nothing():
    world = World(is_log_append=False, off_us={1: 900 * S, 2: 900 * S, 3: 900 * S})
    await world.prober.probe_all()
    assert world.host_clock.broker_skews_us() == {}
    assert world.error_us == 0


async def test_brokers_are_probed_when_due_and_at_once_after_a_step_of_the_host_clock():
    world = World()
    for _ in range(3):
        await world.prober.probe_if_due()
    assert len(world.brokers.asked) == 3
    world.clock.at_us += PROBE_INTERVAL_US
    await world.prober.probe_if_due()
    assert len(world.brokers.asked) == 6
    world.clock.off_us = 600 * S
    world.look()
    assert world.host_clock.is_uncertain
    await world.prober.probe_if_due()
    assert len(world.brokers.asked) == 9
    assert not world.host_clock.is_uncertain
    assert abs(world.error_us) <= 2_000


async def test_a_broker_whose_clock_steps_is_probed_again_at_once():
    world = World()
    await world.prober.probe_all()
    world.clock.at_us += PROBE_INTERVAL_US
    world.brokers.off_us[3] = 90 * S
    for _ in range(3):
        await world.prober.probe_if_due()
    assert len(world.brokers.asked) == 9
    assert world.host_clock.broker_skews_us()[3] == pytest.approx(90 * S, abs=2_000)
