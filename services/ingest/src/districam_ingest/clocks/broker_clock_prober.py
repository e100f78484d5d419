"""Reads the brokers' clocks: produces small records, and takes the append times from their acks.

Acknowledgements of fragments tell the same, but not before the first fragment, and not for brokers that lead
no partition of a camera of this replica.
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
from districam_ingest.clocks.host_clock import MAX_SKEW_US, HostClock

log = structlog.get_logger()

PROBE_TIMEOUT_S: Final = 5.0
"""Timeout of a probe. The broker is asked again in the next round; recording does not wait longer for it."""
PROBE_INTERVAL_US: Final = 10_000_000


class BrokerClockProber:
    """Keeps the host clock's bounds of every broker fresh. To be used by one task."""

    def __init__(self, publisher: Publisher, host_clock: HostClock, runtime: Runtime, *, site: str) -> None:
        self._publisher, self._host_clock = publisher, host_clock
        self._runtime, self._site = runtime, site
        self._counter = 0
        self._last_probe_us: int | None = None
        self._has_failed = False
        self._skewed_brokers: frozenset[int] = frozenset()

    async def probe_if_due(self) -> None:
        """Probes every `PROBE_INTERVAL_US`, and at once if the host's or a broker's clock may have stepped."""
        now_us = self._runtime.clock.monotonic_us()
        is_due = self._last_probe_us is None or now_us - self._last_probe_us >= PROBE_INTERVAL_US
        if is_due or self._host_clock.needs_acks:
            await self.probe_all()

    async def probe_all(self) -> None:
        """Probes each broker that leads a partition of the topic; waits up to `PROBE_TIMEOUT_S`."""
        self._last_probe_us = self._runtime.clock.monotonic_us()
        failures = await self._probe_leaders()
        if failures and not self._has_failed:
            log.warning(
                "broker clock probe failed", why=failures, fix="districam-topics apply, if the topic is missing"
            )
        self._has_failed = bool(failures)
        self._export_skews()

    async def _probe_leaders(self) -> list[str]:
        """Probes each leader; returns the failures."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                leaders = await self._publisher.leaders(names.CLOCKS)
        except (Retriable, Fatal, TimeoutError) as error:
            return [str(error) or f"no answer within {PROBE_TIMEOUT_S:g} s"]
        partition_by_broker = {broker: partition for partition, broker in leaders.items()}
        self._host_clock.expect_brokers(partition_by_broker, self._runtime.clock.monotonic_us())
        async with asyncio.TaskGroup() as tasks:
            probes = [tasks.create_task(self._try_probe(partition)) for partition in partition_by_broker.values()]
        return [why for task in probes if (why := task.result()) is not None]

    async def _try_probe(self, partition: int) -> str | None:
        """Probes a partition's leader; returns the failure, or None."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._probe(partition)
        except (Retriable, Rejected, Fatal, TimeoutError) as error:
            return str(error) or f"no answer within {PROBE_TIMEOUT_S:g} s"
        return None

    async def _probe(self, partition: int) -> None:
        clock = self._runtime.clock
        self._counter += 1
        probe = ClockProbe(instance=self._runtime.instance, sent_us=max(0, clock.now_us()))
        message = wire.probe_message(probe, self._counter, site=self._site)
        sent_us = clock.monotonic_us()
        ack = await self._publisher.publish(names.CLOCKS, message, partition=partition)
        if ack.broker is not None:
            self._host_clock.feed_ack(ack.append_us, sent_us, clock.monotonic_us(), ack.broker)

    def _export_skews(self) -> None:
        """Exports each broker's skew, and logs when the set of skewed brokers changes."""
        skews_us = self._host_clock.broker_skews_us()
        metrics.export_broker_skews(skews_us)
        skewed_s = {broker: us / 1e6 for broker, us in skews_us.items() if abs(us) > MAX_SKEW_US}
        if skewed_s.keys() != self._skewed_brokers:
            log.warning("broker clocks differ from ours", skews_s=skewed_s, brokers=len(skews_us))
        self._skewed_brokers = frozenset(skewed_s)
