"""The queue before the producer: nothing is given up, and nothing leaves out of its order."""

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import Lost
from districam_common.errors import Retriable
from districam_common.kafka.producer import Ack
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.service import Runtime
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.output.send_queue import SendQueue
from support.fragments import epoch_id, fragment
from support.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from districam_common.kafka.producer import Publisher

E = epoch_id(1)


@dataclass
class Broker:
    """A log that takes records while it is `open`, and refuses the first `refusals` attempts."""

    taken: list[str] = field(default_factory=list[str])
    attempts: list[str] = field(default_factory=list[str])
    refusals: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    many: int = 1

    async def publish(self, topic: str, message: wire.Message) -> Ack:
        headers = dict(message.headers)
        name = f"fragment {headers['ce_seq'].decode()}" if topic == names.FRAGMENTS else "lost"
        self.attempts.append(name)
        if self.refusals:
            self.refusals -= 1
            raise Retriable("no answer in time")
        await self.open.wait()
        self.taken.append(name)
        return Ack(0, len(self.taken), 0)


@asynccontextmanager
async def outbox_to(
    broker: Broker, runtime: Runtime, most_bytes: int = 1 << 20, *, host_clock: HostClock | None = None
) -> AsyncGenerator[SendQueue]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        outbox = SendQueue(
            cast("Publisher", broker),
            runtime,
            tasks,
            host_clock or HostClock(),
            site="here",
            max_bytes=most_bytes,
            partitions=broker.many,
        )
        yield outbox
        for sender in outbox.senders:
            sender.cancel()


def lost() -> Lost:
    return Lost(
        camera_id="cam-1",
        at_us=0,
        instance="test",
        epoch=E,
        last_seq=2,
        end_us=0,
        cause="handover",
        detail="",
        next_retry_s=0.0,
    )


IN_ORDER = ["fragment 0", "fragment 1", "fragment 2", "lost"]


@in_virtual_time
async def test_a_record_is_sent_only_after_the_previous_one_is_acknowledged():
    broker = Broker()
    async with outbox_to(broker, Runtime("ingest")) as outbox:
        for seq in range(3):
            outbox.put_fragment(fragment("cam-1", E, seq))
        outbox.put_event("cam-1", lost())
        await asyncio.sleep(0.05)
        assert broker.attempts == ["fragment 0"]
        broker.open.set()
        await outbox.wait_acknowledged()
    assert broker.attempts == broker.taken == IN_ORDER


@in_virtual_time
async def test_acknowledged_records_are_freed():
    """Half a megabyte for each partition, if it does."""
    broker = Broker(refusals=1)
    broker.open.set()
    one = fragment("cam-1", E, 0)
    counts = [sys.getrefcount(one.value)]  # an assertion would hold what it looks at
    async with outbox_to(broker, Runtime("ingest")) as outbox:
        outbox.put_fragment(one)
        counts.append(sys.getrefcount(one.value))
        await outbox.wait_acknowledged()
        await asyncio.sleep(0)
        gc.collect()
        counts.append(sys.getrefcount(one.value))
    before, waiting, behind = counts
    assert before == behind < waiting


@in_virtual_time
async def test_unacknowledged_records_are_retried_also_during_shutdown():
    broker, runtime = Broker(refusals=3), Runtime("ingest")
    broker.open.set()
    runtime.stopping.set()
    async with outbox_to(broker, runtime) as outbox:
        for seq in range(3):
            outbox.put_fragment(fragment("cam-1", E, seq))
        outbox.put_event("cam-1", lost())
        await outbox.wait_acknowledged()
    assert broker.attempts == ["fragment 0"] * 3 + IN_ORDER
    assert broker.taken == IN_ORDER


@in_virtual_time
async def test_the_queue_has_no_room_until_its_records_are_acknowledged():
    broker = Broker()
    async with outbox_to(broker, Runtime("ingest"), most_bytes=5_000) as outbox:
        outbox.put_fragment(fragment("cam-1", E, 0, size=3_000))
        assert not outbox.has_room(1_000)
        broker.open.set()
        await outbox.wait_acknowledged()
        assert outbox.has_room(1_000)


@in_virtual_time
async def test_all_cameras_share_one_budget():
    broker = Broker(many=60)
    async with outbox_to(broker, Runtime("ingest"), most_bytes=10_000) as outbox:
        for number in range(3):
            assert outbox.has_room(2_000)
            outbox.put_fragment(fragment(f"cam-{number}", E, 0, size=2_000))
        await asyncio.sleep(0.05)
        assert len(outbox.senders) == len(broker.attempts) == 3  # each on a partition of its own
        assert not outbox.has_room(2_000)
        broker.open.set()
        await outbox.wait_acknowledged()


@pytest.mark.correctness
@in_virtual_time
async def test_bytes_held_in_front_of_the_queue_count_in_the_same_budget():
    broker = Broker()
    async with outbox_to(broker, Runtime("ingest"), most_bytes=10_000) as outbox:
        assert outbox.adjust_buffered_bytes(6_000)
        assert outbox.has_room(4_000)
        assert not outbox.has_room(4_001)
        outbox.put_fragment(fragment("cam-1", E, 0, size=3_000))
        assert not outbox.adjust_buffered_bytes(1_000), "with what a record takes beside its value"
        assert not outbox.adjust_buffered_bytes(-1)
        assert outbox.adjust_buffered_bytes(-6_999)
        broker.open.set()
        await outbox.wait_acknowledged()
        assert outbox.has_room(10_000)


@dataclass
class LateAnswer(Broker):
    """The first attempt's record is appended, and its answer is lost: who asks again is told when that was."""

    appended_us: int = 0

    async def publish(self, topic: str, message: wire.Message) -> Ack:
        if not self.appended_us:
            self.appended_us = SystemClock().now_us()
            raise Retriable("no answer in time")
        return Ack(0, 1, self.appended_us, broker=1)


@in_virtual_time
async def test_a_record_appended_before_its_retry_does_not_prove_a_wrong_clock():
    broker, runtime = LateAnswer(), Runtime("ingest")
    host_clock = HostClock()
    async with outbox_to(broker, runtime, host_clock=host_clock) as outbox:
        clock = runtime.clock
        host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
        outbox.put_fragment(fragment("cam-1", E, 0))
        await outbox.wait_acknowledged()
        assert host_clock.skew_us == 0
