"""What is known of a camera's footage, read so that an answer is never silently short."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from districam_api.core.clip import Shown
from districam_api.core.health import Health, Newest, health, is_late
from districam_api.core.times import Window
from districam_common.contract.events import Camera, Profile
from districam_common.contract.index import IndexEntry, SegmentArray, entries
from districam_common.contract.media import CAMERA_ID
from districam_common.contract.names import AHEAD_US, HOUR_US, SCHEMA
from districam_common.errors import Rejected, Retriable
from districam_common.index.index_reader import Framed, IndexReader, LatestStill, Meta
from districam_common.ledger.cover import Piece, segment_cover
from districam_common.ledger.intervals import Interval
from districam_common.ledger.ledger import SHORT_HOLE_US, LedgerInputs, State, ledger
from districam_common.runtime.clock import Clock
from districam_common.runtime.turns import in_turns, judged_beside

PAGE_STEP_US = 6 * HOUR_US
"""How much of the index a page reads at a time, until it is full."""


CAMERAS_AT_ONCE = 8
"""Of those whose ledgers one answer needs."""

T = TypeVar("T")


class NotKnown(Rejected):
    """There is no such thing (404)."""


class NotReady(Retriable):
    """The index cannot answer yet; `progress` says how far it is."""

    def __init__(self, message: str, progress: dict[str, Any]) -> None:
        super().__init__(message)
        self.progress = progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the ledger needs of one camera and window."""

    window: Window
    known: LedgerInputs
    now_us: int
    settle_us: int
    epoch: str | None = None
    """Of whose segments this is all that is left (`of`)."""

    @property
    def segments(self) -> SegmentArray:
        return self.known.segments

    def states(self) -> list[State]:
        window = self.window.from_us, self.window.to_us
        return ledger(window, self.known, now_us=self.now_us, settle_us=self.settle_us)

    def shown(self, states: Sequence[State]) -> list[Shown]:
        """The cover of what `states` call recorded, a segment at a time."""
        found = self._cover(states)
        return [Shown(row, p.from_us, p.to_us) for row, p in zip(self._entries(found), found, strict=True)]

    def of(self, epoch: str | None) -> "Evidence":
        """What is to be shown of that epoch alone; of all, if none is named."""
        if epoch is None:
            return self
        own = self.segments[[row.epoch == epoch for row in entries(self.segments)]]
        return replace(self, known=replace(self.known, segments=own), epoch=epoch)

    def spanned(self, states: Sequence[State]) -> list[State]:
        """`states` as far as they speak of what is to be shown: of one epoch, from its first picture to its last."""
        if self.epoch is None or not len(self.segments):
            return list(states)
        from_us, to_us = int(self.segments["start_us"].min()), int(self.segments["end_us"].max())
        clipped = (replace(s, from_us=max(from_us, s.from_us), to_us=min(to_us, s.to_us)) for s in states)
        return [state for state in clipped if state.from_us < state.to_us]

    def filled(self, states: Sequence[State]) -> "Evidence":
        """This; or, if its window lies inside a hole too short to count, with a window that begins before that hole.

        Such a hole reads `recorded` and holds no picture: what is shown in it is the last one before.
        """
        if self.window.to_us - self.window.from_us >= SHORT_HOLE_US:
            return self
        if not any(state.state == "recorded" for state in states) or self._cover(states):
            return self
        return replace(self, window=Window(self.window.from_us - SHORT_HOLE_US, self.window.to_us))

    def played(self, states: Sequence[State]) -> list[IndexEntry]:
        """The segments that show what `states` call recorded, in playing order."""
        return self._entries(self._cover(states))

    def _cover(self, states: Iterable[State]) -> list[Piece]:
        return segment_cover(self.segments, [(s.from_us, s.to_us) for s in states if s.state == "recorded"])

    def _entries(self, pieces: Iterable[Piece]) -> list[IndexEntry]:
        return entries(self.segments[np.array([piece.row for piece in pieces], dtype=np.intp)])


async def judged(evidence: Evidence) -> list[State]:
    """Its states; nobody else waits for them."""
    return await judged_beside(evidence.states, len(evidence.known.events))


async def filled(evidence: Evidence, states: list[State]) -> tuple[Evidence, list[State]]:
    """`Evidence.filled`, with its states."""
    found = evidence.filled(states)
    return found, states if found is evidence else await judged(found)


class Footage:
    """Questions to the index. Every method raises NotReady while the index is missing or being rebuilt."""

    def __init__(self, index: IndexReader, clock: Clock, settle_us: int) -> None:
        self._index = index
        self._clock = clock
        self._settle_us = settle_us

    async def evidence(self, camera_id: str, window: Window) -> Evidence:
        """Everything about the window, consistent in the one way that matters.

        `log_us` is read first: what is read after it can only be newer, so nothing reads as a gap that was on its way.

        Raises:
            NotKnown: no such camera.
        """
        meta = await self._meta()
        if not CAMERA_ID.fullmatch(camera_id):
            raise _unknown(camera_id)
        now_us = self._clock.now_us()
        found = await self._index.known(
            camera_id, meta.partitions, window.from_us - HOUR_US, window.to_us + HOUR_US
        )
        _unchanged(meta, _ready(found.meta))
        if not found.revisions:
            await self._must_be_known(camera_id)
        now_us = max(now_us, found.log_us)
        return Evidence(window=window, known=found, now_us=now_us, settle_us=self._settle_us)

    async def page(
        self,
        camera_id: str,
        window: Window,
        after: tuple[int | str, ...] | None,
        most: int,
        epoch: str | None = None,
    ) -> list[IndexEntry]:
        """The first `most` segments that touch the window and come after `after`, in the order of `position`.

        Of that epoch alone, if one is named.

        Raises:
            NotKnown: no such camera.
        """
        meta = await self._meta()
        await self._revisions(camera_id)
        found: list[IndexEntry] = []
        from_us = window.from_us if after is None else max(window.from_us, int(after[0]))
        first_us = from_us
        while from_us < window.to_us and len(found) < most:
            to_us = min(from_us + PAGE_STEP_US, window.to_us)
            rows = entries(await self._index.segments(camera_id, from_us, to_us))
            own = [row for row in rows if epoch in (None, row.epoch)]
            new = [row for row in own if from_us == first_us or row.start_us >= from_us]
            found += sorted((row for row in new if after is None or position(row) > after), key=position)
            from_us = to_us
        await self._unchanged(meta)
        return found[:most]

    async def healths(self, cameras: Iterable[Camera] | None = None) -> list[Health]:
        """How each of these cameras is doing, in their order; of all, by id, where none are named."""
        meta = await self._meta()
        known = (await self._index.cameras()).values() if cameras is None else cameras
        asked = {camera.camera_id: camera for camera in known}
        now_us = await self._now_us()
        told = await self._index.recent(list(asked), now_us)
        latest = await self._index.latest()
        newest = await self._newest(asked.values(), latest, now_us)
        out = [
            health(camera, told[camera_id], newest.get(camera_id), now_us)
            async for camera_id, camera in in_turns(asked.items())
        ]
        await self._unchanged(meta)
        return out

    async def camera(self, camera_id: str) -> tuple[Health, Profile | None]:
        """How the camera is doing, and what it was last seen to be.

        Raises:
            NotKnown: no such camera, or footage alone is known of it.
        """
        meta = await self._meta()
        revisions = await self._revisions(camera_id)
        if not revisions:
            raise NotKnown(f"camera {camera_id} has footage, but no record")
        told = await self._index.told(camera_id)
        now_us = await self._now_us()
        newest = await self._newest([revisions[-1]], await self._index.latest(), now_us)
        profiles = [one.event for one in told if isinstance(one.event, Profile)]
        await self._unchanged(meta)
        return health(revisions[-1], told, newest.get(camera_id), now_us), profiles[-1] if profiles else None

    async def records(self) -> list[Camera]:
        """The newest record of each camera, by id."""
        return list(_agreed(await self._index.framed_cameras()).values())

    async def states_at(self, camera_ids: Sequence[str], at_us: int) -> dict[str, State]:
        """What is known of that instant, by camera id.

        A glance at the index shows who is stored then; the ledger is asked of the others alone.
        """
        seen = _agreed(await self._index.at(camera_ids, at_us))
        recorded = [one for one, found in seen.items() if found.is_stored and not found.is_expired]
        plain = {one: State("recorded", at_us, at_us + 1) for one in recorded}
        return plain | await self._states_by_ledger([one for one in camera_ids if one not in plain], at_us)

    async def _states_by_ledger(self, camera_ids: Iterable[str], at_us: int) -> dict[str, State]:
        slots = asyncio.Semaphore(CAMERAS_AT_ONCE)

        async def read(camera_id: str) -> State:
            async with slots:
                return (await judged(await self.evidence(camera_id, Window(at_us, at_us + 1))))[0]

        async with asyncio.TaskGroup() as tasks:
            reading = {camera_id: tasks.create_task(read(camera_id)) for camera_id in camera_ids}
        return {camera_id: task.result() for camera_id, task in reading.items()}

    async def days(self, camera_ids: Sequence[str], window: Window) -> dict[str, list[bytes]]:
        """The bitmaps of the window's UTC days, by camera id."""
        meta = await self._meta()
        found = await self._index.days(camera_ids, window.from_us, window.to_us)
        await self._unchanged(meta)
        return found

    async def expired(self, camera_id: str) -> list[Interval]:
        """What retention has let go of, merged."""
        meta = await self._meta()
        found = await self._index.expired([camera_id])
        await self._unchanged(meta)
        return found[camera_id]

    async def still(self, camera_id: str) -> LatestStill | None:
        """The newest still, if there is one of the last minute.

        Raises:
            NotKnown: no such camera.
        """
        await self._meta()
        await self._revisions(camera_id)
        return await self._index.still(camera_id)

    async def _newest(
        self, cameras: Iterable[Camera], latest: Mapping[str, int], now_us: int
    ) -> dict[str, Newest]:
        """The newest segments; their lengths are looked up only where they decide whether the next one is late."""
        out: dict[str, Newest] = {}
        unsure: dict[str, int] = {}
        async for camera in in_turns(cameras):
            end_us = latest.get(camera.camera_id)
            if end_us is not None and end_us > now_us + AHEAD_US:
                end_us = await self._index.newest_end_us(camera.camera_id, now_us + AHEAD_US)
            if end_us is None:
                continue
            out[camera.camera_id] = newest = Newest(end_us=end_us)
            if is_late(camera, newest, now_us) and now_us - end_us <= HOUR_US:
                unsure[camera.camera_id] = end_us
        for camera_id, length_us in (await self._index.lengths(unsure)).items():
            out[camera_id] = Newest(end_us=unsure[camera_id], length_us=length_us)
        return out

    async def _now_us(self) -> int:
        """This host's clock, unless the log has got further: then that is behind."""
        return max(self._clock.now_us(), *(await self._index.logged()).values(), 0)

    async def _revisions(self, camera_id: str) -> list[Camera]:
        if not CAMERA_ID.fullmatch(camera_id):
            raise _unknown(camera_id)
        revisions = await self._index.revisions(camera_id)
        if not revisions:
            await self._must_be_known(camera_id)
        return revisions

    async def _must_be_known(self, camera_id: str) -> None:
        """Footage may be stored of a camera that has no record."""
        if camera_id not in await self._index.camera_ids():
            raise _unknown(camera_id)

    async def _meta(self) -> Meta:
        return _ready(await self._index.meta())

    async def _unchanged(self, before: Meta) -> None:
        _unchanged(before, await self._meta())


def _unknown(camera_id: str) -> NotKnown:
    return NotKnown(f"there is no camera {camera_id[:64]!r}")


def _ready(meta: Meta | None) -> Meta:
    if meta is not None and meta.schema != SCHEMA:
        raise NotReady(
            f"the index says that it is of schema {meta.schema[:20]!r}; this api reads {SCHEMA!r}", {}
        )
    if meta is None or not meta.is_ready:
        progress = {} if meta is None else meta.progress
        raise NotReady(
            "the index of the footage is being built; nobody can tell yet what is stored", progress
        )
    return meta


def _agreed(read: Framed[T]) -> T:
    _unchanged(_ready(read.before), _ready(read.after))
    return read.value


def _unchanged(before: Meta, after: Meta) -> None:
    """An index emptied or built anew while it was read would have made gaps of what is stored."""
    if (after.build, after.partitions) != (before.build, before.partitions):
        raise NotReady("the index was built anew while it was read", {})


def position(entry: IndexEntry) -> tuple[int, str, int, int]:
    """Where the segment stands in lists."""
    return entry.start_us, entry.epoch, entry.first_seq, entry.last_seq
