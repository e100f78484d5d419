"""What a batch of records comes to in the index, and what of it is told on the dead letters' topic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client import REGISTRY

from districam_common.contract import names, wire
from districam_common.contract.events import DeadLetter, FootageExpired
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.errors import Retriable
from districam_common.kafka.producer import Ack
from districam_common.kafka.records import Record
from districam_common.ledger.intervals import Interval
from districam_common.runtime.service import Runtime
from districam_indexer.apply import Applier
from districam_indexer.core.operations import Batch
from districam_indexer.expiry import Expirer
from support.announcements import NOON_US, segment

if TYPE_CHECKING:
    from districam_common.s3.hold_store import HoldStore
    from districam_indexer.dependencies import Dependencies
    from districam_indexer.rate_limiter import RateLimiter

pytestmark = pytest.mark.hostile
OLD_US = NOON_US - 3 * DAY_US


def expired(to_us: int) -> FootageExpired:
    return FootageExpired(camera_id="cam-1", at_us=NOON_US, instance="i", from_us=0, to_us=to_us, reason="r")


def nothing(_: object) -> list[Interval]:
    return []


@dataclass
class World:
    """Kafka, whose clock shows `now_us`, and Redis, which knows `known` to have expired."""

    now_us: int = NOON_US
    known: list[Interval] = field(default_factory=list[Interval])
    said: list[tuple[str, wire.Message]] = field(default_factory=list[tuple[str, wire.Message]])
    written: list[Batch] = field(default_factory=list[Batch])

    async def publish(self, topic: str, message: wire.Message) -> Ack:
        self.said.append((topic, message))
        return Ack(0, len(self.said), self.now_us)

    async def expired_intervals(self, camera_ids: Sequence[str]) -> Mapping[str, list[Interval]]:
        return {one: list(self.known) for one in camera_ids}

    async def apply(self, batch: Batch, **_: object) -> None:
        self.written.append(batch)

    async def apply_when_full(self, batch: Batch, **_: object) -> None:
        self.written.append(batch)

    async def events_by_member(self, _: str) -> list[object]:
        return []

    async def evict_events(self, *_: object) -> None:
        pass

    async def list_active(self) -> SimpleNamespace:
        return SimpleNamespace(intervals_of=nothing)

    @property
    def deps(self) -> "Dependencies":
        parts = dict.fromkeys(("publisher", "index", "writer", "evictor"), self)
        site = SimpleNamespace(site="here")
        noted = SimpleNamespace(feed=nothing)
        return cast(
            "Dependencies",
            SimpleNamespace(
                **parts, runtime=Runtime("indexer"), settings=site, announced_intervals=noted, streams_until_us=OLD_US
            ),
        )


def record(topic: str, message: wire.Message, append_us: int = NOON_US) -> Record:
    return Record(topic, 0, 7, append_us, message.key, message.value, tuple((k, v) for k, v in message.headers))


def of_expired(to_us: int) -> wire.Message:
    return wire.event_message(expired(to_us), 1, site="here", service="indexer")


@pytest.mark.parametrize(
    ("topic", "to_us"), [(names.RETENTION, NOON_US + DAY_US), (names.STREAMS, NOON_US - 2 * DAY_US)]
)
async def test_a_forged_expired_hides_nothing_that_comes_with_it(topic: str, to_us: int):
    world, stored = World(), segment(start_us=OLD_US)
    before = refused()
    announced = record(names.SEGMENTS, wire.stored_message(stored, site="here"))
    await Applier(world.deps).apply([record(topic, of_expired(to_us)), announced], build="b")
    (batch,) = world.written
    assert names.segments_key("cam-1", OLD_US) in batch.scored
    assert not any("expired" in key or "events" in key for key in batch.scored)
    ((where, message),) = world.said
    letter = wire.decode_json(DeadLetter, message.value)
    assert (where, letter.topic, letter.offset) == (names.DEADLETTERS, topic, 7)
    assert refused() == before + 1


@pytest.mark.parametrize(
    ("topic", "append_us"), [(names.RETENTION, NOON_US), (names.STREAMS, OLD_US), (names.STREAMS, OLD_US - 1)]
)
async def test_what_retention_says_counts_at_once_for_what_comes_with_it(topic: str, append_us: int):
    gone = segment(start_us=append_us - 5 * DAY_US)
    world = World()
    said = record(topic, of_expired(gone.end_us), append_us)
    announced = record(names.SEGMENTS, wire.stored_message(gone, site="here"))
    await Applier(world.deps).apply([announced, said], build="b")
    (batch,) = world.written
    assert names.segments_key("cam-1", gone.start_us) not in batch.scored
    assert names.expired_key("cam-1") in batch.scored
    assert world.said == []


def refused() -> float:
    return REGISTRY.get_sample_value("districam_indexer_expired_refused_total") or 0


def expiry(world: World) -> Expirer:
    return Expirer(world.deps, cast("HoldStore", world), cast("RateLimiter", None))


async def test_what_others_would_not_believe_is_not_acted_on():
    """The broker's clock is two hours behind the time that retention goes by."""
    world = World(now_us=NOON_US - 2 * HOUR_US, known=[(0, NOON_US - DAY_US)])
    with pytest.raises(Retriable, match="too young"):
        await expiry(world).republish("cam-1", NOON_US, build="b")
    assert world.written == []


async def test_what_an_earlier_version_believed_is_not_said_again():
    world = World(known=[(0, NOON_US - DAY_US), (NOON_US - HOUR_US, NOON_US + DAY_US)])
    await expiry(world).republish("cam-1", NOON_US, build="b")
    ((topic, message),) = world.said
    event = wire.decode_expired(message.key, message.headers, message.value)
    assert topic == names.RETENTION
    assert (event.from_us, event.to_us) == (0, NOON_US - DAY_US)
    assert event.reason == "repeated"
