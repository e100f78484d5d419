"""What is told of a held window after the hold was placed is kept beside it, and outlives the topic."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from districam_common.contract import wire
from districam_common.contract.names import HOUR_US, SCHEMA, hold_events_key
from districam_common.contract.segment_array import array_from_entries
from districam_common.errors import Retriable
from districam_common.index.index_codec import Meta
from districam_common.index.index_reader import IndexedLedgerInputs
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.holds import Hold, HoldEvents, encode_events
from districam_common.ledger.ledger import LedgerInputs, ledger
from districam_common.s3.hold_store import HoldStore
from districam_indexer.hold_event_archiver import HoldEventArchiver
from support.announcements import NOON_US, S, lost
from support.histories import camera
from support.memory_blobs import MemoryBlobs

if TYPE_CHECKING:
    from districam_indexer.dependencies import Dependencies

pytestmark = pytest.mark.correctness
TO_US = NOON_US + 600 * S
SETTLE_S = 75
SETTLED_US = TO_US + HOUR_US + SETTLE_S * S
HOLD = Hold(id="a" * 16, camera_id="cam-1", from_us=NOON_US, to_us=TO_US, reason="r", placed_by="k", placed_us=1)
AHEAD = LoggedEvent(replace(lost(NOON_US + 100 * S), cause="camera_unreachable", next_retry_s=900.0), NOON_US + 101 * S)
"""Happens in the window, after the hold was placed."""
READY = Meta(site="local", schema=SCHEMA, partitions=1, state="ready", build="b1", progress={})


@dataclass
class World(MemoryBlobs):
    """A bucket, an index and two clocks: the host's, which may say anything, and the log's."""

    told: list[LoggedEvent] = field(default_factory=list[LoggedEvent])
    log_us: int = NOON_US
    meta: Meta | None = READY
    writes: int = 0
    is_away: bool = False
    host_us: int = 1

    async def get(self, key: str, **more: Any) -> bytes:
        self._asked()
        return await super().get(key, **more)

    async def put(self, key: str, parts: Sequence[bytes], **more: Any) -> None:
        self._asked()
        self.writes += 1
        await super().put(key, parts, **more)

    def _asked(self) -> None:
        if self.is_away:
            raise Retriable("the store is away")

    async def read_meta(self) -> Meta | None:
        return self.meta

    async def watermarks_us(self) -> dict[int, int]:
        return {0: self.log_us}

    async def ledger_inputs(self, camera_id: str, partitions: int, from_us: int, to_us: int) -> IndexedLedgerInputs:
        return IndexedLedgerInputs(
            log_us=self.log_us, revisions=[], segments=array_from_entries([]), events=list(self.told), truncations=[], meta=self.meta
        )  # fmt: skip

    def monotonic_us(self) -> int:
        return self.host_us

    def now_us(self) -> int:
        return self.host_us

    def loop(self) -> HoldEventArchiver:
        index = SimpleNamespace(meta=self.read_meta, watermarks_us=self.watermarks_us, ledger_inputs=self.ledger_inputs)
        settings = SimpleNamespace(indexer=SimpleNamespace(settle_s=SETTLE_S))
        doors = SimpleNamespace(index=index, settings=settings, runtime=SimpleNamespace(clock=self))
        return HoldEventArchiver(cast("Dependencies", doors), HoldStore(self))

    def kept(self) -> HoldEvents | None:
        found = self.objects.get(hold_events_key(HOLD.id))
        return None if found is None else wire.decode_json(HoldEvents, found[0])


def states(told: list[LoggedEvent]) -> object:
    late_us = NOON_US + 90 * 24 * HOUR_US
    known = LedgerInputs(revisions=[camera()], segments=array_from_entries([]), events=told, log_us=late_us)
    return ledger((NOON_US, TO_US), known, now_us=late_us)


def read_back(kept: HoldEvents | None) -> list[LoggedEvent]:
    """As a rebuild reads it, long after the topic has forgotten."""
    found = [wire.decode_indexed_event(text.encode()) for text in (kept.events if kept else ())]
    return [LoggedEvent(event, at) for event, at in found]  # pyright: ignore[reportArgumentType]  # no `fell` among them


async def test_what_happens_in_a_window_that_lies_ahead_explains_it_for_good() -> None:
    world = World()
    made = world.loop()
    await made.archive([HOLD])
    world.told.append(AHEAD)
    world.log_us = SETTLED_US
    await made.archive([HOLD])
    assert states(read_back(world.kept())) == states([AHEAD])
    assert states(read_back(world.kept())) != states([])
    assert world.kept() is not None
    assert HOLD.id not in [key for key in world.objects if key.startswith("_districam/holds/")]


async def test_the_log_says_when_a_window_has_settled_whatever_the_hosts_clock_says() -> None:
    world = World(told=[AHEAD], log_us=SETTLED_US - 1, host_us=SETTLED_US + 365 * 24 * HOUR_US)
    made = world.loop()
    await made.archive([HOLD])
    assert world.kept() is None
    world.log_us, world.host_us = SETTLED_US, 5
    await made.archive([HOLD])
    assert world.kept() is not None


async def test_another_replica_writes_nothing_twice_and_loses_nothing() -> None:
    world = World(told=[AHEAD], log_us=SETTLED_US)
    await world.loop().archive([HOLD])
    first = world.kept()
    world.told.clear()  # its index was built anew, from a topic that has forgotten
    await world.loop().archive([HOLD])
    assert (world.kept(), world.writes) == (first, 1)
    late = LoggedEvent(lost(NOON_US + 300 * S), NOON_US + 9 * HOUR_US)
    world.told.append(late)
    await world.loop().archive([HOLD])
    assert world.kept() is not None
    assert first is not None
    assert cast("HoldEvents", world.kept()).events == (*first.events, *encode_events([late]))


async def test_what_is_told_late_is_kept_when_the_hold_is_looked_at_again() -> None:
    world = World(log_us=SETTLED_US)
    made = world.loop()
    await made.archive([HOLD])
    assert world.kept() is None  # there is nothing to be kept
    world.told.append(AHEAD)
    await made.archive([HOLD])
    assert world.kept() is None  # not at every round
    world.host_us += HOUR_US
    await made.archive([HOLD])
    assert world.kept() is not None


async def test_a_store_that_is_away_is_asked_again() -> None:
    world = World(told=[AHEAD], log_us=SETTLED_US, is_away=True)
    made = world.loop()
    with pytest.raises(Retriable):
        await made.archive([HOLD])
    world.is_away = False
    await made.archive([HOLD])
    assert world.kept() is not None


async def test_a_hold_that_is_released_before_leaves_nothing() -> None:
    world = World(told=[AHEAD])
    made = world.loop()
    await made.archive([HOLD])
    world.log_us = SETTLED_US
    await made.archive([])
    assert world.objects == {}


@pytest.mark.parametrize("meta", [None, replace(READY, state="rebuilding")])
async def test_an_index_that_is_not_whole_is_no_witness(meta: Meta | None) -> None:
    world = World(told=[AHEAD], log_us=SETTLED_US, meta=meta)
    made = world.loop()
    await made.archive([HOLD])
    assert world.objects == {}
    world.meta = READY
    await made.archive([HOLD])
    assert world.kept() is not None


async def test_what_cannot_be_read_is_written_anew() -> None:
    world = World(told=[AHEAD], log_us=SETTLED_US)
    world.put_directly(hold_events_key(HOLD.id), b"{")
    await world.loop().archive([replace(HOLD)])
    assert states(read_back(world.kept())) == states([AHEAD])
