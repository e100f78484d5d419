"""What a batch of records changes in the index, and which records become dead letters."""

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
    """A fake Kafka, whose clock shows `now_us`, and a fake Redis with the expired intervals `known`."""

    now_us: int = NOON_US
    known: list[Interval] = field(default_factory=list[Interval])
    published: list[tuple[str, wire.Message]] = field(default_factory=list[tuple[str, wire.Message]])
    written: list[Batch] = field(default_factory=list[Batch])

    async def publish(self, topic: str, message: wire.Message) -> Ack:
        self.published.append((topic, message))
        return Ack(0, len(self.published), self.now_us)

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
        announced = SimpleNamespace(feed=nothing)
        return cast(
            "Dependencies",
            SimpleNamespace(
                **parts,
                runtime=Runtime("indexer"),
                settings=site,
                announced_intervals=announced,
                streams_until_us=OLD_US,
            ),
        )


def record(topic: str, message: wire.Message, append_us: int = NOON_US) -> Record:
    return Record(topic, 0, 7, append_us, message.key, message.value, tuple((k, v) for k, v in message.headers))


def expired_message(to_us: int) -> wire.Message:
    return wire.event_message(expired(to_us), 1, site="here", service="indexer")


@pytest.mark.parametrize(
    ("topic", "to_us"), [(names.RETENTION, NOON_US + DAY_US), (names.STREAMS, NOON_US - 2 * DAY_US)]
)
async def test_a_rejected_expired_event_hides_no_segment_of_its_batch(topic: str, to_us: int):
    world, stored = World(), segment(start_us=OLD_US)
    before = rejected_count()
    announced = record(names.SEGMENTS, wire.stored_message(stored, site="here"))
    await Applier(world.deps).apply([record(topic, expired_message(to_us)), announced], build="b")
    (batch,) = world.written
    assert names.segments_key("cam-1", OLD_US) in batch.scored
    assert not any("expired" in key or "events" in key for key in batch.scored)
    ((where, message),) = world.published
    letter = wire.decode_json(DeadLetter, message.value)
    assert (where, letter.topic, letter.offset) == (names.DEADLETTERS, topic, 7)
    assert rejected_count() == before + 1


@pytest.mark.parametrize(
    ("topic", "append_us"), [(names.RETENTION, NOON_US), (names.STREAMS, OLD_US), (names.STREAMS, OLD_US - 1)]
)
async def test_a_valid_expired_event_hides_segments_of_its_batch(topic: str, append_us: int):
    gone = segment(start_us=append_us - 5 * DAY_US)
    world = World()
    published = record(topic, expired_message(gone.end_us), append_us)
    announced = record(names.SEGMENTS, wire.stored_message(gone, site="here"))
    await Applier(world.deps).apply([announced, published], build="b")
    (batch,) = world.written
    assert names.segments_key("cam-1", gone.start_us) not in batch.scored
    assert names.expired_key("cam-1") in batch.scored
    assert world.published == []


def rejected_count() -> float:
    return REGISTRY.get_sample_value("districam_indexer_expired_refused_total") or 0


def expiry(world: World) -> Expirer:
    return Expirer(world.deps, cast("HoldStore", world), cast("RateLimiter", None))


async def test_an_expired_event_that_would_be_rejected_deletes_nothing():
    """The broker's clock is two hours behind the time that retention uses."""
    world = World(now_us=NOON_US - 2 * HOUR_US, known=[(0, NOON_US - DAY_US)])
    with pytest.raises(Retriable, match="too young"):
        await expiry(world).republish("cam-1", NOON_US, build="b")
    assert world.written == []


async def test_too_young_expired_intervals_of_an_earlier_version_are_not_published_again():
    world = World(known=[(0, NOON_US - DAY_US), (NOON_US - HOUR_US, NOON_US + DAY_US)])
    await expiry(world).republish("cam-1", NOON_US, build="b")
    ((topic, message),) = world.published
    event = wire.decode_expired(message.key, message.headers, message.value)
    assert topic == names.RETENTION
    assert (event.from_us, event.to_us) == (0, NOON_US - DAY_US)
    assert event.reason == "repeated"
