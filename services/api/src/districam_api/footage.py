"""Queries about a camera's footage. While the index is incomplete they raise NotReady, never return part."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from districam_api.core.clip_plan import CoverSegment
from districam_api.core.health import NewestSegment, StreamHealth, compute_health, is_late
from districam_api.core.times import Window
from districam_common.contract.events import Camera, Profile
from districam_common.contract.media import CAMERA_ID
from districam_common.contract.names import HOUR_US, MAX_CLOCK_AHEAD_US, SCHEMA
from districam_common.contract.segment_array import IndexEntry, SegmentArray, entries_from_array
from districam_common.errors import Rejected, Retriable
from districam_common.index.index_reader import IndexReader, LatestStill, Meta, ReadWithMeta
from districam_common.ledger.cover import Piece, segment_cover
from districam_common.ledger.intervals import Interval
from districam_common.ledger.ledger import MIN_GAP_US, LedgerInputs, State, ledger
from districam_common.runtime.clock import Clock
from districam_common.runtime.cooperative import run_in_thread_if_long, yield_periodically

PAGE_STEP_US = 6 * HOUR_US
"""How much of the index a page reads at a time until it is full."""


MAX_CONCURRENT_LEDGERS = 8
"""Cameras whose ledger inputs are read at once for one answer."""

T = TypeVar("T")


class NotFound(Rejected):
    """The requested item does not exist (404)."""


class NotReady(Retriable):
    """The index cannot answer yet (503); `progress` is how far its rebuild is."""

    def __init__(self, message: str, progress: dict[str, Any]) -> None:
        super().__init__(message)
        self.progress = progress


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRecords:
    """Everything that the ledger needs for one camera and window."""

    window: Window
    inputs: LedgerInputs
    now_us: int
    settle_us: int
    epoch: str | None = None
    """If set, `segments` holds this epoch's only (`for_epoch`)."""

    @property
    def segments(self) -> SegmentArray:
        return self.inputs.segments

    def states(self) -> list[State]:
        window = self.window.from_us, self.window.to_us
        return ledger(window, self.inputs, now_us=self.now_us, settle_us=self.settle_us)

    def cover(self, states: Sequence[State]) -> list[CoverSegment]:
        """The cover of what `states` call recorded, one segment at a time."""
        pieces = self._cover_pieces(states)
        return [CoverSegment(row, p.from_us, p.to_us) for row, p in zip(self._entries(pieces), pieces, strict=True)]

    def for_epoch(self, epoch: str | None) -> "WindowRecords":
        """The records with one epoch's segments only; unchanged if it is None."""
        if epoch is None:
            return self
        own = self.segments[[row.epoch == epoch for row in entries_from_array(self.segments)]]
        return replace(self, inputs=replace(self.inputs, segments=own), epoch=epoch)

    def clip_states(self, states: Sequence[State]) -> list[State]:
        """`states`; of one epoch, clipped from its first segment's start to its last one's end."""
        if self.epoch is None or not len(self.segments):
            return list(states)
        from_us, to_us = int(self.segments["start_us"].min()), int(self.segments["end_us"].max())
        clipped = (replace(s, from_us=max(from_us, s.from_us), to_us=min(to_us, s.to_us)) for s in states)
        return [state for state in clipped if state.from_us < state.to_us]

    def extend_over_short_hole(self, states: Sequence[State]) -> "WindowRecords":
        """The records; if their window lies inside a hole shorter than MIN_GAP_US, with a start before that hole.

        Such a hole reads `recorded` but holds no picture: the last picture before it is shown.
        """
        if self.window.to_us - self.window.from_us >= MIN_GAP_US:
            return self
        if not any(state.state == "recorded" for state in states) or self._cover_pieces(states):
            return self
        return replace(self, window=Window(self.window.from_us - MIN_GAP_US, self.window.to_us))

    def cover_entries(self, states: Sequence[State]) -> list[IndexEntry]:
        """The segments that show what `states` call recorded, in playing order."""
        return self._entries(self._cover_pieces(states))

    def _cover_pieces(self, states: Iterable[State]) -> list[Piece]:
        return segment_cover(self.segments, [(s.from_us, s.to_us) for s in states if s.state == "recorded"])

    def _entries(self, pieces: Iterable[Piece]) -> list[IndexEntry]:
        return entries_from_array(self.segments[np.array([piece.row for piece in pieces], dtype=np.intp)])


async def compute_states(records: WindowRecords) -> list[State]:
    """The ledger's states; in a thread if that takes long, so that other requests are not blocked."""
    return await run_in_thread_if_long(records.states, len(records.inputs.events))


async def extend_over_short_hole(records: WindowRecords, states: list[State]) -> tuple[WindowRecords, list[State]]:
    """`WindowRecords.extend_over_short_hole`, with its states."""
    found = records.extend_over_short_hole(states)
    return found, states if found is records else await compute_states(found)


class FootageReader:
    """Queries of the index. Every method raises NotReady while the index is missing or being rebuilt."""

    def __init__(self, index: IndexReader, clock: Clock, settle_us: int) -> None:
        self._index = index
        self._clock = clock
        self._settle_us = settle_us

    async def window_records(self, camera_id: str, window: Window) -> WindowRecords:
        """All records of the window.

        `log_us` is read first: what is read after it can only be newer, so footage that is being stored is no gap.

        Raises:
            NotFound: no such camera.
        """
        meta = await self._meta()
        if not CAMERA_ID.fullmatch(camera_id):
            raise _no_such_camera(camera_id)
        now_us = self._clock.now_us()
        found = await self._index.ledger_inputs(
            camera_id, meta.partitions, window.from_us - HOUR_US, window.to_us + HOUR_US
        )
        _require_unchanged(meta, _require_ready(found.meta))
        if not found.revisions:
            await self._require_known(camera_id)
        now_us = max(now_us, found.log_us)
        return WindowRecords(window=window, inputs=found, now_us=now_us, settle_us=self._settle_us)

    async def page(
        self, camera_id: str, window: Window, after: tuple[int | str, ...] | None, limit: int, epoch: str | None = None
    ) -> list[IndexEntry]:
        """The first `limit` segments that intersect the window and sort after `after` (`sort_key`).

        Of `epoch` alone, if one is given.

        Raises:
            NotFound: no such camera.
        """
        meta = await self._meta()
        await self._revisions(camera_id)
        found: list[IndexEntry] = []
        from_us = window.from_us if after is None else max(window.from_us, int(after[0]))
        first_us = from_us
        while from_us < window.to_us and len(found) < limit:
            to_us = min(from_us + PAGE_STEP_US, window.to_us)
            rows = entries_from_array(await self._index.segments(camera_id, from_us, to_us))
            own = [row for row in rows if epoch in (None, row.epoch)]
            new = [row for row in own if from_us == first_us or row.start_us >= from_us]
            found += sorted((row for row in new if after is None or sort_key(row) > after), key=sort_key)
            from_us = to_us
        await self._require_unchanged_meta(meta)
        return found[:limit]

    async def healths(self, cameras: Iterable[Camera] | None = None) -> list[StreamHealth]:
        """The health of `cameras`, in their order; of all cameras by id if None."""
        meta = await self._meta()
        known = (await self._index.cameras()).values() if cameras is None else cameras
        by_id = {camera.camera_id: camera for camera in known}
        now_us = await self._now_us()
        events = await self._index.recent_events(list(by_id), now_us)
        latest = await self._index.latest_ends_us()
        newest = await self._newest(by_id.values(), latest, now_us)
        out = [
            compute_health(camera, events[camera_id], newest.get(camera_id), now_us)
            async for camera_id, camera in yield_periodically(by_id.items())
        ]
        await self._require_unchanged_meta(meta)
        return out

    async def camera(self, camera_id: str) -> tuple[StreamHealth, Profile | None]:
        """A camera's health and its newest profile.

        Raises:
            NotFound: no such camera, or it has footage but no record.
        """
        meta = await self._meta()
        revisions = await self._revisions(camera_id)
        if not revisions:
            raise NotFound(f"camera {camera_id} has footage, but no record")
        events = await self._index.events(camera_id)
        now_us = await self._now_us()
        newest = await self._newest([revisions[-1]], await self._index.latest_ends_us(), now_us)
        profiles = [one.event for one in events if isinstance(one.event, Profile)]
        await self._require_unchanged_meta(meta)
        return compute_health(revisions[-1], events, newest.get(camera_id), now_us), profiles[-1] if profiles else None

    async def camera_records(self) -> list[Camera]:
        """The newest record of each camera, by id."""
        return list(_require_consistent(await self._index.cameras_with_meta()).values())

    async def states_at(self, camera_ids: Sequence[str], at_us: int) -> dict[str, State]:
        """Each camera's state at an instant, by id.

        Stored instants are looked up in the index; only the other cameras need their ledger computed.
        """
        coverage = _require_consistent(await self._index.states_at(camera_ids, at_us))
        recorded = [one for one, found in coverage.items() if found.is_stored and not found.is_expired]
        plain = {one: State("recorded", at_us, at_us + 1) for one in recorded}
        return plain | await self._states_by_ledger([one for one in camera_ids if one not in plain], at_us)

    async def _states_by_ledger(self, camera_ids: Iterable[str], at_us: int) -> dict[str, State]:
        slots = asyncio.Semaphore(MAX_CONCURRENT_LEDGERS)

        async def read(camera_id: str) -> State:
            async with slots:
                return (await compute_states(await self.window_records(camera_id, Window(at_us, at_us + 1))))[0]

        async with asyncio.TaskGroup() as tasks:
            reading = {camera_id: tasks.create_task(read(camera_id)) for camera_id in camera_ids}
        return {camera_id: task.result() for camera_id, task in reading.items()}

    async def day_bitmaps(self, camera_ids: Sequence[str], window: Window) -> dict[str, list[bytes]]:
        """The bitmaps of the window's UTC days, by camera id."""
        meta = await self._meta()
        found = await self._index.day_bitmaps(camera_ids, window.from_us, window.to_us)
        await self._require_unchanged_meta(meta)
        return found

    async def expired(self, camera_id: str) -> list[Interval]:
        """Intervals that retention has deleted, merged."""
        meta = await self._meta()
        found = await self._index.expired_intervals([camera_id])
        await self._require_unchanged_meta(meta)
        return found[camera_id]

    async def still(self, camera_id: str) -> LatestStill | None:
        """The newest still; None if there is none of the last minute.

        Raises:
            NotFound: no such camera.
        """
        await self._meta()
        await self._revisions(camera_id)
        return await self._index.still(camera_id)

    async def _newest(
        self, cameras: Iterable[Camera], latest: Mapping[str, int], now_us: int
    ) -> dict[str, NewestSegment]:
        """The newest segments; lengths are looked up only where they decide whether the next one is late."""
        out: dict[str, NewestSegment] = {}
        uncertain: dict[str, int] = {}
        async for camera in yield_periodically(cameras):
            end_us = latest.get(camera.camera_id)
            if end_us is not None and end_us > now_us + MAX_CLOCK_AHEAD_US:
                end_us = await self._index.newest_end_us(camera.camera_id, now_us + MAX_CLOCK_AHEAD_US)
            if end_us is None:
                continue
            out[camera.camera_id] = newest = NewestSegment(end_us=end_us)
            if is_late(camera, newest, now_us) and now_us - end_us <= HOUR_US:
                uncertain[camera.camera_id] = end_us
        for camera_id, length_us in (await self._index.last_segment_durations_us(uncertain)).items():
            out[camera_id] = NewestSegment(end_us=uncertain[camera_id], length_us=length_us)
        return out

    async def _now_us(self) -> int:
        """This host's clock, or the newest watermark if that is later: then this clock is behind."""
        return max(self._clock.now_us(), *(await self._index.watermarks_us()).values(), 0)

    async def _revisions(self, camera_id: str) -> list[Camera]:
        if not CAMERA_ID.fullmatch(camera_id):
            raise _no_such_camera(camera_id)
        revisions = await self._index.revisions(camera_id)
        if not revisions:
            await self._require_known(camera_id)
        return revisions

    async def _require_known(self, camera_id: str) -> None:
        """Raises NotFound unless footage is stored: a camera may have some without a record."""
        if camera_id not in await self._index.camera_ids():
            raise _no_such_camera(camera_id)

    async def _meta(self) -> Meta:
        return _require_ready(await self._index.meta())

    async def _require_unchanged_meta(self, before: Meta) -> None:
        _require_unchanged(before, await self._meta())


def _no_such_camera(camera_id: str) -> NotFound:
    return NotFound(f"there is no camera {camera_id[:64]!r}")


def _require_ready(meta: Meta | None) -> Meta:
    if meta is not None and meta.schema != SCHEMA:
        raise NotReady(f"the index has schema {meta.schema[:20]!r}; this api reads {SCHEMA!r}", {})
    if meta is None or not meta.is_ready:
        progress = {} if meta is None else meta.progress
        raise NotReady("the index is being built, so what is stored is not known yet; try again later", progress)
    return meta


def _require_consistent(read: ReadWithMeta[T]) -> T:
    _require_unchanged(_require_ready(read.meta_before), _require_ready(read.meta_after))
    return read.value


def _require_unchanged(before: Meta, after: Meta) -> None:
    """Raises NotReady if the index was emptied or rebuilt during the read: stored footage would appear as gaps."""
    if (after.build, after.partitions) != (before.build, before.partitions):
        raise NotReady("the index was rebuilt while it was read; try again", {})


def sort_key(entry: IndexEntry) -> tuple[int, str, int, int]:
    """Sort key of segments in lists."""
    return entry.start_us, entry.epoch, entry.first_seq, entry.last_seq
