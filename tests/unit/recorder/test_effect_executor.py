"""put → announce, step by step: the store and the log are stood in for by hand, so that they can be held up."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from prometheus_client import REGISTRY

from districam_common.contract import names, wire
from districam_common.contract.events import DeadLetter, SegmentStored
from districam_common.errors import Rejected, Retriable
from districam_common.kafka.producer import Ack
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.service import Runtime
from districam_common.s3.blobs import LockRefused
from districam_recorder.core.assembler import FirstRecord, Segment
from districam_recorder.core.objects import build_object, encode_metadata
from districam_recorder.effect_executor import BucketTarget, EffectExecutor
from districam_recorder.lock_policy import LockPolicy
from support.fragments import T0, epoch_id, fragment
from support.memory_blobs import MemoryBlobs

if TYPE_CHECKING:
    from districam_common.kafka.producer import Publisher

E = epoch_id(1)
S, LOCK_US = 1_000_000, 24 * 3_600_000_000


@dataclass
class World(MemoryBlobs):
    """A bucket and a log, and what happened to them in order. `open` lets puts through; `errors` come before that."""

    events: list[str] = field(default_factory=list[str])
    announced: list[SegmentStored] = field(default_factory=list[SegmentStored])
    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    errors: list[Exception] = field(default_factory=list[Exception])
    holds: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    takes_locks: bool = True
    locks: list[int | None] = field(default_factory=list[int | None])

    async def put(self, key: str, parts: Sequence[bytes], *, locked_until_us: int | None = None, **more: Any) -> None:
        assert more["once"]
        if locked_until_us is not None and not self.takes_locks:
            raise LockRefused("InvalidRequest")
        if self.errors:
            raise self.errors.pop(0)
        if key in self.holds:
            await self.holds[key].wait()
        await super().put(key, parts, **more)
        self.events.append(f"put {more['metadata']['first-seq']}")
        self.locks.append(locked_until_us)

    async def publish(self, topic: str, message: wire.Message, *, partition: int | None) -> Ack:
        if topic == names.DEADLETTERS:
            self.letters.append(wire.decode_json(DeadLetter, message.value))
            return Ack(0, len(self.letters), T0)
        assert topic == names.SEGMENTS
        stored = wire.decode_stored(message.key, message.headers, message.value)
        self.events.append(f"announce {stored.first_seq}")
        self.announced.append(stored)
        return Ack(0, len(self.announced), T0)


def segment(seq: int) -> Segment:
    return Segment(FirstRecord(seq, T0, T0), (fragment("cam-1", E, seq, size=10),), 10, "ends")


class Clock(SystemClock):
    """The footage is of now."""

    def now_us(self) -> int:
        return T0 + S


class Line:
    """Effects in the order of closing, as a partition's handler starts them."""

    def __init__(self, world: World, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._turn = asyncio.Event()
        self._turn.set()
        place = BucketTarget(site="here", bucket="bucket")
        publisher = cast("Publisher", world)
        runtime = Runtime("recorder", clock=Clock())
        locking = LockPolicy(runtime, LOCK_US, has_lock=True)
        self._store = EffectExecutor(world, publisher, runtime, place, locking, uploads=4)

    def execute(self, effect: Segment) -> asyncio.Task[None]:
        turn, self._turn = self._turn, asyncio.Event()
        return self._tasks.create_task(self._one(effect, turn, self._turn))

    async def _one(self, effect: Segment, turn: asyncio.Event, done: asyncio.Event) -> None:
        await self._store.execute(effect, 0, turn)
        done.set()


@asynccontextmanager
async def line(world: World) -> AsyncGenerator[Line]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        yield Line(world, tasks)


async def until(world: World, count: int) -> None:
    while len(world.events) < count:
        await asyncio.sleep(0.005)


def key_of(one: Segment) -> str:
    return build_object(one, "bucket").stored.key


async def test_a_segment_is_announced_once_its_object_is_stored():
    world, one = World(), segment(0)
    world.holds[key_of(one)] = asyncio.Event()
    async with line(world) as effects:
        effects.execute(one)
        await asyncio.sleep(0.1)
        assert world.events == []
        world.holds[key_of(one)].set()
    assert world.events == ["put 0", "announce 0"]


async def test_an_upload_that_overtakes_another_waits_to_be_announced():
    world, slow = World(), segment(0)
    world.holds[key_of(slow)] = asyncio.Event()
    async with line(world) as effects:
        effects.execute(slow)
        effects.execute(segment(1))
        await until(world, 1)
        await asyncio.sleep(0.05)
        assert world.events == ["put 1"]
        world.holds[key_of(slow)].set()
    assert world.events == ["put 1", "put 0", "announce 0", "announce 1"]


async def test_a_store_that_is_away_is_waited_for_and_nothing_is_announced_meanwhile():
    world = World(errors=[Retriable("no answer"), Retriable("503")])
    async with line(world) as effects:
        effects.execute(segment(0))
    assert world.events == ["put 0", "announce 0"]


async def test_what_was_stored_before_is_announced_as_the_object_says():
    world, one = World(), segment(0)
    ours = build_object(one, "bucket").stored
    told = replace(ours, codecs="as the first writer said")
    world.objects[ours.key] = (bytes(ours.bytes), encode_metadata(told))
    async with line(world) as effects:
        effects.execute(one)
    assert world.announced == [told]


@pytest.mark.hostile
@pytest.mark.parametrize("is_ours", [True, False])
async def test_other_bytes_under_the_key_are_told_and_what_follows_is_stored(*, is_ours: bool):
    world, one = World(), segment(7)
    ours = build_object(one, "bucket").stored
    theirs = replace(ours, sha256="0f" * 32)
    world.objects[ours.key] = (bytes(ours.bytes), encode_metadata(theirs) if is_ours else {})
    before = conflicts()
    async with line(world) as effects:
        effects.execute(one)
        effects.execute(segment(8))
    assert world.announced == [*([theirs] if is_ours else []), build_object(segment(8), "bucket").stored]
    (letter,) = world.letters
    assert (letter.topic, letter.offset, letter.key) == (names.FRAGMENTS, 7, "cam-1")
    assert ours.sha256 in letter.reason
    assert (theirs.sha256 in letter.reason) == is_ours
    assert conflicts() == before + 1


@pytest.mark.hostile
async def test_a_segment_that_the_store_refuses_waits_until_it_is_taken():
    world = World(errors=[Rejected("too large for the proxy")])
    async with line(world) as effects:
        effects.execute(segment(0))
    assert world.events == ["put 0", "announce 0"]


def conflicts() -> float:
    return REGISTRY.get_sample_value("districam_recorder_conflicts_total", {"what": "object"}) or 0


@pytest.mark.hostile
async def test_a_segment_is_locked_for_the_hours_from_its_append_on():
    world = World()
    async with line(world) as effects:
        effects.execute(segment(0))
    assert world.locks == [T0 + LOCK_US]


@pytest.mark.hostile
async def test_a_store_that_takes_no_locks_costs_no_footage():
    world = World(takes_locks=False, errors=[Retriable("503")])
    async with line(world) as effects:
        effects.execute(segment(0))
        effects.execute(segment(1))
    assert world.locks == [None, None]
    assert [one.first_seq for one in world.announced] == [0, 1]


class Refusing(World):
    """Refuses everything as long as there are errors, by a word that might be about the lock."""

    async def put(self, key: str, parts: Sequence[bytes], *, locked_until_us: int | None = None, **more: Any) -> None:
        if locked_until_us is not None and self.errors:
            raise LockRefused("AccessDenied")
        await super().put(key, parts, locked_until_us=locked_until_us, **more)


@pytest.mark.hostile
async def test_a_store_that_refuses_everything_for_a_moment_is_asked_for_locks_again():
    """Else whoever makes it refuse for a second gets ten minutes of footage that can be deleted."""
    world = Refusing(errors=[Retriable("AccessDenied")])
    async with line(world) as effects:
        effects.execute(segment(0))
    assert world.locks == [T0 + LOCK_US]
