"""Asks the brokers for the time: small records, which are written for the time that the broker gives them.

What is recorded tells it as well, but not before the first fragment has left, and not of brokers that lead no partition of a
camera here.
"""

import asyncio
from typing import Final

import structlog

from districam_common.contract import names, wire
from districam_common.contract.clock_probe import ClockProbe
from districam_common.errors import Fatal, Rejected, Retriable
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime
from districam_ingest import metrics
from districam_ingest.clocks.host_clock import TOLERATED_US, HostClock

log = structlog.get_logger()

PATIENCE_S: Final = 5.0
"""A broker that has not answered by then is asked again in the next round; recording waits no longer for it."""
INTERVAL_US: Final = 10_000_000


class Prober:
    """Keeps what is known of every broker's clock fresh. For one task."""

    def __init__(self, publisher: Publisher, host_clock: HostClock, runtime: Runtime, *, site: str) -> None:
        self._publisher, self._host_clock = publisher, host_clock
        self._runtime, self._site = runtime, site
        self._counter = 0
        self._asked_us: int | None = None
        self._failed = False
        self._apart: frozenset[int] = frozenset()

    async def ask_when_due(self) -> None:
        """Asks every `INTERVAL_US`, and at once when a clock has moved: the host's, or a broker's."""
        now_us = self._runtime.clock.monotonic_us()
        is_due = self._asked_us is None or now_us - self._asked_us >= INTERVAL_US
        if is_due or self._host_clock.wants_acks:
            await self.ask()

    async def ask(self) -> None:
        """Asks each broker that leads a partition of the topic, and waits for the answers, `PATIENCE_S` at most."""
        self._asked_us = self._runtime.clock.monotonic_us()
        failures = await self._failures()
        if failures and not self._failed:
            log.warning(
                "a broker gives no time", why=failures, fix="districam-topics apply, if the topic is missing"
            )
        self._failed = bool(failures)
        self._tell_apart()

    async def _failures(self) -> list[str]:
        """Asks; gives what went wrong."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                leaders = await self._publisher.leaders(names.CLOCKS)
        except (Retriable, Fatal, TimeoutError) as error:
            return [str(error) or f"no answer within {PATIENCE_S:g} s"]
        one_each = {broker: partition for partition, broker in leaders.items()}
        self._host_clock.expects(one_each, self._runtime.clock.monotonic_us())
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(self._probed(partition)) for partition in one_each.values()]
        return [why for task in asking if (why := task.result()) is not None]

    async def _probed(self, partition: int) -> str | None:
        """None, or why there is no answer."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._probe(partition)
        except (Retriable, Rejected, Fatal, TimeoutError) as error:
            return str(error) or f"no answer within {PATIENCE_S:g} s"
        return None

    async def _probe(self, partition: int) -> None:
        clock = self._runtime.clock
        self._counter += 1
        probe = ClockProbe(instance=self._runtime.instance, sent_us=max(0, clock.now_us()))
        message = wire.probe_message(probe, self._counter, site=self._site)
        sent_us = clock.monotonic_us()
        ack = await self._publisher.publish(names.CLOCKS, message, partition=partition)
        if ack.broker is not None:
            self._host_clock.acked(ack.append_us, sent_us, clock.monotonic_us(), ack.broker)

    def _tell_apart(self) -> None:
        """Which brokers' clocks are not ours: one among several is stray; if half of them are, none is believed."""
        apart_us = self._host_clock.apart_us()
        metrics.tell_brokers(apart_us)
        far = {broker: us / 1e6 for broker, us in apart_us.items() if abs(us) > TOLERATED_US}
        if far.keys() != self._apart:
            log.warning("brokers' clocks are apart from ours", off_s=far, brokers=len(apart_us))
        self._apart = frozenset(far)
