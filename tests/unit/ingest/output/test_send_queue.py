"""The send queue: no record is given up, and records are sent in order."""

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
    """A log that appends records while it is `open`, and fails the first `refusals` attempts."""

    appended: list[str] = field(default_factory=list[str])
    attempts: list[str] = field(default_factory=list[str])
    refusals: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    partition_count: int = 1

    async def publish(self, topic: str, message: wire.Message) -> Ack:
        headers = dict(message.headers)
        name = f"fragment {headers['ce_seq'].decode()}" if topic == names.FRAGMENTS else "lost"
        self.attempts.append(name)
        if self.refusals:
            self.refusals -= 1
            raise Retriable("no answer in time")
        await self.open.wait()
        self.appended.append(name)
        return Ack(0, len(self.appended), 0)


@asynccontextmanager
async def open_send_queue(
    broker: Broker, runtime: Runtime, max_bytes: int = 1 << 20, *, host_clock: HostClock | None = None
) -> AsyncGenerator[SendQueue]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        send_queue = SendQueue(
            cast("Publisher", broker),
            runtime,
            tasks,
            host_clock or HostClock(),
            site="here",
            max_bytes=max_bytes,
            partitions=broker.partition_count,
        )
        yield send_queue
        for sender in send_queue.senders:
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
    async with open_send_queue(broker, Runtime("ingest")) as send_queue:
        for seq in range(3):
            send_queue.put_fragment(fragment("cam-1", E, seq))
        send_queue.put_event("cam-1", lost())
        await asyncio.sleep(0.05)
        assert broker.attempts == ["fragment 0"]
        broker.open.set()
        await send_queue.wait_acknowledged()
    assert broker.attempts == broker.appended == IN_ORDER


@in_virtual_time
async def test_acknowledged_records_are_freed():
    """Otherwise half a megabyte per partition would stay in memory."""
    broker = Broker(refusals=1)
    broker.open.set()
    one = fragment("cam-1", E, 0)
    refcounts = [sys.getrefcount(one.value)]  # an assertion would hold a reference
    async with open_send_queue(broker, Runtime("ingest")) as send_queue:
        send_queue.put_fragment(one)
        refcounts.append(sys.getrefcount(one.value))
        await send_queue.wait_acknowledged()
        await asyncio.sleep(0)
        gc.collect()
        refcounts.append(sys.getrefcount(one.value))
    before, waiting, after = refcounts
    assert before == after < waiting


@in_virtual_time
async def test_unacknowledged_records_are_retried_also_during_shutdown():
    broker, runtime = Broker(refusals=3), Runtime("ingest")
    broker.open.set()
    runtime.stopping.set()
    async with open_send_queue(broker, runtime) as send_queue:
        for seq in range(3):
            send_queue.put_fragment(fragment("cam-1", E, seq))
        send_queue.put_event("cam-1", lost())
        await send_queue.wait_acknowledged()
    assert broker.attempts == ["fragment 0"] * 3 + IN_ORDER
    assert broker.appended == IN_ORDER


@in_virtual_time
async def test_the_queue_has_no_room_until_its_records_are_acknowledged():
    broker = Broker()
    async with open_send_queue(broker, Runtime("ingest"), max_bytes=5_000) as send_queue:
        send_queue.put_fragment(fragment("cam-1", E, 0, size=3_000))
        assert not send_queue.has_room(1_000)
        broker.open.set()
        await send_queue.wait_acknowledged()
        assert send_queue.has_room(1_000)


@in_virtual_time
async def test_all_cameras_share_one_budget():
    broker = Broker(partition_count=60)
    async with open_send_queue(broker, Runtime("ingest"), max_bytes=10_000) as send_queue:
        for number in range(3):
            assert send_queue.has_room(2_000)
            send_queue.put_fragment(fragment(f"cam-{number}", E, 0, size=2_000))
        await asyncio.sleep(0.05)
        assert len(send_queue.senders) == len(broker.attempts) == 3  # each camera has its own partition
        assert not send_queue.has_room(2_000)
        broker.open.set()
        await send_queue.wait_acknowledged()


@pytest.mark.correctness
@in_virtual_time
async def test_bytes_held_in_front_of_the_queue_count_in_the_same_budget():
    broker = Broker()
    async with open_send_queue(broker, Runtime("ingest"), max_bytes=10_000) as send_queue:
        assert send_queue.adjust_buffered_bytes(6_000)
        assert send_queue.has_room(4_000)
        assert not send_queue.has_room(4_001)
        send_queue.put_fragment(fragment("cam-1", E, 0, size=3_000))
        assert not send_queue.adjust_buffered_bytes(1_000), "the overhead of a record counts too"
        assert not send_queue.adjust_buffered_bytes(-1)
        assert send_queue.adjust_buffered_bytes(-6_999)
        broker.open.set()
        await send_queue.wait_acknowledged()
        assert send_queue.has_room(10_000)


@dataclass
class LostAckBroker(Broker):
    """Appends the first attempt's record and loses the ack; the retry gets the time of that append."""

    appended_us: int = 0

    async def publish(self, topic: str, message: wire.Message) -> Ack:
        if not self.appended_us:
            self.appended_us = SystemClock().now_us()
            raise Retriable("no answer in time")
        return Ack(0, 1, self.appended_us, broker=1)


@in_virtual_time
async def test_a_record_appended_before_its_retry_does_not_prove_a_wrong_clock():
    broker, runtime = LostAckBroker(), Runtime("ingest")
    host_clock = HostClock()
    async with open_send_queue(broker, runtime, host_clock=host_clock) as send_queue:
        clock = runtime.clock
        host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
        send_queue.put_fragment(fragment("cam-1", E, 0))
        await send_queue.wait_acknowledged()
        assert host_clock.skew_us == 0
