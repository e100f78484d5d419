"""Events of a held window that are published after the hold was placed are archived, and outlive the topic."""

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
EVENT = LoggedEvent(replace(lost(NOON_US + 100 * S), cause="camera_unreachable", next_retry_s=900.0), NOON_US + 101 * S)
"""An event in the window, after the hold was placed."""
READY = Meta(site="local", schema=SCHEMA, partitions=1, state="ready", build="b1", progress={})


@dataclass
class World(MemoryBlobs):
    """A fake bucket and index, and two clocks: the host's, which may be wrong, and the log's."""

    events: list[LoggedEvent] = field(default_factory=list[LoggedEvent])
    log_us: int = NOON_US
    meta: Meta | None = READY
    writes: int = 0
    is_away: bool = False
    host_us: int = 1

    async def get(self, key: str, **more: Any) -> bytes:
        self._require_store()
        return await super().get(key, **more)

    async def put(self, key: str, parts: Sequence[bytes], **more: Any) -> None:
        self._require_store()
        self.writes += 1
        await super().put(key, parts, **more)

    def _require_store(self) -> None:
        if self.is_away:
            raise Retriable("the store is away")

    async def read_meta(self) -> Meta | None:
        return self.meta

    async def watermarks_us(self) -> dict[int, int]:
        return {0: self.log_us}

    async def ledger_inputs(self, camera_id: str, partitions: int, from_us: int, to_us: int) -> IndexedLedgerInputs:
        return IndexedLedgerInputs(
            log_us=self.log_us, revisions=[], segments=array_from_entries([]), events=list(self.events), truncations=[], meta=self.meta
        )  # fmt: skip

    def monotonic_us(self) -> int:
        return self.host_us

    def now_us(self) -> int:
        return self.host_us

    def archiver(self) -> HoldEventArchiver:
        index = SimpleNamespace(meta=self.read_meta, watermarks_us=self.watermarks_us, ledger_inputs=self.ledger_inputs)
        settings = SimpleNamespace(indexer=SimpleNamespace(settle_s=SETTLE_S))
        deps = SimpleNamespace(index=index, settings=settings, runtime=SimpleNamespace(clock=self))
        return HoldEventArchiver(cast("Dependencies", deps), HoldStore(self))

    def archived(self) -> HoldEvents | None:
        found = self.objects.get(hold_events_key(HOLD.id))
        return None if found is None else wire.decode_json(HoldEvents, found[0])


def states(events: list[LoggedEvent]) -> object:
    late_us = NOON_US + 90 * 24 * HOUR_US
    known = LedgerInputs(revisions=[camera()], segments=array_from_entries([]), events=events, log_us=late_us)
    return ledger((NOON_US, TO_US), known, now_us=late_us)


def decode_archive(archive: HoldEvents | None) -> list[LoggedEvent]:
    """Decodes an archive as a rebuild does."""
    found = [wire.decode_indexed_event(text.encode()) for text in (archive.events if archive else ())]
    return [LoggedEvent(event, at) for event, at in found]  # pyright: ignore[reportArgumentType]  # no `fell` among them


async def test_events_of_a_future_window_are_archived_once_it_has_settled() -> None:
    world = World()
    archiver = world.archiver()
    await archiver.archive([HOLD])
    world.events.append(EVENT)
    world.log_us = SETTLED_US
    await archiver.archive([HOLD])
    assert states(decode_archive(world.archived())) == states([EVENT])
    assert states(decode_archive(world.archived())) != states([])
    assert world.archived() is not None
    assert HOLD.id not in [key for key in world.objects if key.startswith("_districam/holds/")]


async def test_a_window_settles_by_the_watermark_and_not_by_the_hosts_clock() -> None:
    world = World(events=[EVENT], log_us=SETTLED_US - 1, host_us=SETTLED_US + 365 * 24 * HOUR_US)
    archiver = world.archiver()
    await archiver.archive([HOLD])
    assert world.archived() is None
    world.log_us, world.host_us = SETTLED_US, 5
    await archiver.archive([HOLD])
    assert world.archived() is not None


async def test_another_replica_archives_no_event_twice_and_loses_none() -> None:
    world = World(events=[EVENT], log_us=SETTLED_US)
    await world.archiver().archive([HOLD])
    first = world.archived()
    world.events.clear()  # its index was rebuilt from a topic that no longer has the events
    await world.archiver().archive([HOLD])
    assert (world.archived(), world.writes) == (first, 1)
    late = LoggedEvent(lost(NOON_US + 300 * S), NOON_US + 9 * HOUR_US)
    world.events.append(late)
    await world.archiver().archive([HOLD])
    assert world.archived() is not None
    assert first is not None
    assert cast("HoldEvents", world.archived()).events == (*first.events, *encode_events([late]))


async def test_late_events_are_archived_at_the_next_check_of_the_hold() -> None:
    world = World(log_us=SETTLED_US)
    archiver = world.archiver()
    await archiver.archive([HOLD])
    assert world.archived() is None  # there are no events
    world.events.append(EVENT)
    await archiver.archive([HOLD])
    assert world.archived() is None  # not checked in every round
    world.host_us += HOUR_US
    await archiver.archive([HOLD])
    assert world.archived() is not None


async def test_archiving_is_retried_after_the_store_was_away() -> None:
    world = World(events=[EVENT], log_us=SETTLED_US, is_away=True)
    archiver = world.archiver()
    with pytest.raises(Retriable):
        await archiver.archive([HOLD])
    world.is_away = False
    await archiver.archive([HOLD])
    assert world.archived() is not None


async def test_a_hold_released_before_it_settled_is_not_archived() -> None:
    world = World(events=[EVENT])
    archiver = world.archiver()
    await archiver.archive([HOLD])
    world.log_us = SETTLED_US
    await archiver.archive([])
    assert world.objects == {}


@pytest.mark.parametrize("meta", [None, replace(READY, state="rebuilding")])
async def test_nothing_is_archived_from_an_index_that_is_not_ready(meta: Meta | None) -> None:
    world = World(events=[EVENT], log_us=SETTLED_US, meta=meta)
    archiver = world.archiver()
    await archiver.archive([HOLD])
    assert world.objects == {}
    world.meta = READY
    await archiver.archive([HOLD])
    assert world.archived() is not None


async def test_an_unreadable_archive_is_written_again() -> None:
    world = World(events=[EVENT], log_us=SETTLED_US)
    world.put_directly(hold_events_key(HOLD.id), b"{")
    await world.archiver().archive([replace(HOLD)])
    assert states(decode_archive(world.archived())) == states([EVENT])
