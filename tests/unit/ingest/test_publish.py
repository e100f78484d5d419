"""The queue before the producer: nothing is given up, and nothing leaves out of its order."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from districam_common import names, wire
from districam_common.errors import Retriable
from districam_common.events import Lost
from districam_common.kafka.producer import Ack
from districam_common.service import Runtime
from districam_ingest.publish import Outbox
from support.fragments import epoch_id, fragment

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

    async def partitions(self, topic: str) -> int:
        return 1

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
async def outbox_to(broker: Broker, runtime: Runtime, most_bytes: int = 1 << 20) -> AsyncGenerator[Outbox]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        outbox = Outbox(cast("Publisher", broker), runtime, tasks, site="here", most_bytes=most_bytes)
        await outbox.open()
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


async def test_nothing_later_leaves_before_the_earlier_is_acknowledged():
    broker = Broker()
    async with outbox_to(broker, Runtime("ingest")) as outbox:
        for seq in range(3):
            outbox.offer_fragment(fragment("cam-1", E, seq))
        outbox.offer_event("cam-1", lost())
        await asyncio.sleep(0.05)
        assert broker.attempts == ["fragment 0"]
        broker.open.set()
        await outbox.drained()
    assert broker.attempts == broker.taken == IN_ORDER


async def test_what_is_not_acknowledged_is_sent_again_also_while_stopping():
    broker, runtime = Broker(refusals=3), Runtime("ingest")
    broker.open.set()
    runtime.stopping.set()
    async with outbox_to(broker, runtime) as outbox:
        for seq in range(3):
            outbox.offer_fragment(fragment("cam-1", E, seq))
        outbox.offer_event("cam-1", lost())
        await outbox.drained()
    assert broker.attempts == ["fragment 0"] * 3 + IN_ORDER
    assert broker.taken == IN_ORDER


async def test_the_queue_is_full_until_what_it_holds_is_acknowledged():
    broker = Broker()
    async with outbox_to(broker, Runtime("ingest"), most_bytes=5_000) as outbox:
        outbox.offer_fragment(fragment("cam-1", E, 0, size=3_000))
        assert not outbox.has_room(1_000)
        broker.open.set()
        await outbox.drained()
        assert outbox.has_room(1_000)
