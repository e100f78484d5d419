"""PUT, then announce, with a fake store and log that can be delayed."""

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
    """A fake bucket and log that record their calls. PUTs raise `errors` first, then wait for `holds` of their key."""

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
    """A wall clock just after the footage."""

    def now_us(self) -> int:
        return T0 + S


class EffectQueue:
    """Starts effects in the order of closing, as a partition's handler does."""

    def __init__(self, world: World, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._last_done = asyncio.Event()
        self._last_done.set()
        target = BucketTarget(site="here", bucket="bucket")
        publisher = cast("Publisher", world)
        runtime = Runtime("recorder", clock=Clock())
        lock_policy = LockPolicy(runtime, LOCK_US, has_lock=True)
        self._executor = EffectExecutor(world, publisher, runtime, target, lock_policy, uploads=4)

    def execute(self, effect: Segment) -> asyncio.Task[None]:
        previous_done, self._last_done = self._last_done, asyncio.Event()
        return self._tasks.create_task(self._one(effect, previous_done, self._last_done))

    async def _one(self, effect: Segment, previous_done: asyncio.Event, done: asyncio.Event) -> None:
        await self._executor.execute(effect, 0, previous_done)
        done.set()


@asynccontextmanager
async def effect_queue(world: World) -> AsyncGenerator[EffectQueue]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        yield EffectQueue(world, tasks)


async def until(world: World, count: int) -> None:
    while len(world.events) < count:
        await asyncio.sleep(0.005)


def key_of(one: Segment) -> str:
    return build_object(one, "bucket").stored.key


async def test_a_segment_is_announced_once_its_object_is_stored():
    world, one = World(), segment(0)
    world.holds[key_of(one)] = asyncio.Event()
    async with effect_queue(world) as effects:
        effects.execute(one)
        await asyncio.sleep(0.1)
        assert world.events == []
        world.holds[key_of(one)].set()
    assert world.events == ["put 0", "announce 0"]


async def test_an_upload_that_completes_early_is_announced_in_order():
    world, slow = World(), segment(0)
    world.holds[key_of(slow)] = asyncio.Event()
    async with effect_queue(world) as effects:
        effects.execute(slow)
        effects.execute(segment(1))
        await until(world, 1)
        await asyncio.sleep(0.05)
        assert world.events == ["put 1"]
        world.holds[key_of(slow)].set()
    assert world.events == ["put 1", "put 0", "announce 0", "announce 1"]


async def test_puts_are_retried_while_the_store_is_away_and_nothing_is_announced_meanwhile():
    world = World(errors=[Retriable("no answer"), Retriable("503")])
    async with effect_queue(world) as effects:
        effects.execute(segment(0))
    assert world.events == ["put 0", "announce 0"]


async def test_an_object_that_exists_is_announced_by_its_own_metadata():
    world, one = World(), segment(0)
    ours = build_object(one, "bucket").stored
    existing = replace(ours, codecs="as the first writer said")
    world.objects[ours.key] = (bytes(ours.bytes), encode_metadata(existing))
    async with effect_queue(world) as effects:
        effects.execute(one)
    assert world.announced == [existing]


@pytest.mark.hostile
@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_conflict_of_keys_is_a_dead_letter_and_later_segments_are_stored(*, is_ours: bool):
    world, one = World(), segment(7)
    ours = build_object(one, "bucket").stored
    theirs = replace(ours, sha256="0f" * 32)
    world.objects[ours.key] = (bytes(ours.bytes), encode_metadata(theirs) if is_ours else {})
    before = conflicts()
    async with effect_queue(world) as effects:
        effects.execute(one)
        effects.execute(segment(8))
    assert world.announced == [*([theirs] if is_ours else []), build_object(segment(8), "bucket").stored]
    (letter,) = world.letters
    assert (letter.topic, letter.offset, letter.key) == (names.FRAGMENTS, 7, "cam-1")
    assert ours.sha256 in letter.reason
    assert (theirs.sha256 in letter.reason) == is_ours
    assert conflicts() == before + 1


@pytest.mark.hostile
async def test_a_segment_that_the_store_refuses_is_retried_until_it_is_stored():
    world = World(errors=[Rejected("too large for the proxy")])
    async with effect_queue(world) as effects:
        effects.execute(segment(0))
    assert world.events == ["put 0", "announce 0"]


def conflicts() -> float:
    return REGISTRY.get_sample_value("districam_recorder_conflicts_total", {"what": "object"}) or 0


@pytest.mark.hostile
async def test_a_segment_is_locked_for_lock_h_from_its_append():
    world = World()
    async with effect_queue(world) as effects:
        effects.execute(segment(0))
    assert world.locks == [T0 + LOCK_US]


@pytest.mark.hostile
async def test_segments_are_stored_unlocked_if_the_store_refuses_locks():
    world = World(takes_locks=False, errors=[Retriable("503")])
    async with effect_queue(world) as effects:
        effects.execute(segment(0))
        effects.execute(segment(1))
    assert world.locks == [None, None]
    assert [one.first_seq for one in world.announced] == [0, 1]


class RefusingWorld(World):
    """Refuses every PUT while there are errors, with a code that may be about the lock."""

    async def put(self, key: str, parts: Sequence[bytes], *, locked_until_us: int | None = None, **more: Any) -> None:
        if locked_until_us is not None and self.errors:
            raise LockRefused("AccessDenied")
        await super().put(key, parts, locked_until_us=locked_until_us, **more)


@pytest.mark.hostile
async def test_locks_stay_on_after_a_moment_in_which_the_store_refused_every_put():
    """Otherwise a refusal of one second would leave ten minutes of footage unlocked."""
    world = RefusingWorld(errors=[Retriable("AccessDenied")])
    async with effect_queue(world) as effects:
        effects.execute(segment(0))
    assert world.locks == [T0 + LOCK_US]
