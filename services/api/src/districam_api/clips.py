"""Clips: a window's footage as one MP4 that is read while it is sent."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain

from districam_api.ahead import ahead
from districam_api.core.clip import (
    Cut,
    Mark,
    Shown,
    cut_of,
    is_seam,
    keyframe_at,
    last_before,
    lead,
    seam,
    stretches,
)
from districam_api.core.crowd import Crowd
from districam_api.core.keys import NO_KEY
from districam_api.core.placing import Part, Placing, Reading, lasting, shape, shortened
from districam_api.core.sound import NOTHING, Sound, sound_track
from districam_api.footage import Evidence
from districam_api.objects import Objects
from districam_common.contract.index import IndexEntry, entries
from districam_common.errors import Rejected, Retriable
from districam_common.ledger.intervals import Interval
from districam_common.mp4.boxes import Data, Track, tracks, video_track

INITS_AT_ONCE = 6


class Busy(Retriable):
    """As many clips as may be are being sent."""


class Differing(Rejected):
    """No one clip can hold the window: the camera changed its picture. `windows` can each be one."""

    def __init__(self, windows: Sequence[Interval]) -> None:
        super().__init__("the camera changed its codec, size or parameters inside this window")
        self.windows = windows


class Places:
    """How many clips may be sent at once: of all together, and of each key."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._crowd = Crowd(most, most_each)

    @contextmanager
    def place(self, key_id: str) -> Generator[None]:
        """A place for as long as the block lasts.

        Who needs no key shares no name with the others who need none: there only all together are bounded.

        Raises:
            Busy: none is free.
        """
        who = None if key_id == NO_KEY else key_id
        match self._crowd.enter(who):
            case "all":
                raise Busy(f"{self._most} clips are being sent, the most at once (api.clips_at_once)")
            case "each":
                raise Busy(
                    f"{self._most_each} clips are being sent to this key, the most at once (api.clips_per_key)"
                )
            case None:
                pass
        try:
            yield
        finally:
            self._crowd.leave(who)


@dataclass(frozen=True, slots=True)
class Clip:
    """What the clip will hold, and its bytes. Close `content` in any case."""

    from_us: int
    to_us: int
    content: AsyncGenerator[bytes]


async def clip(objects: Objects, evidence: Evidence, shown: Sequence[Shown]) -> Clip:
    """The clip of `shown`, a cover of the evidence's window, at least one segment.

    Raises:
        Differing: it takes more than one clip. Missing, Retriable: of the store.
    """
    inits = await _inits(objects, [one.entry for one in shown])
    windows = stretches(shown, {epoch: shape(init) for epoch, init in inits.items()}, evidence.window)
    if len(windows) > 1:
        raise Differing(windows)
    init = inits[shown[0].entry.epoch]
    maker = _Maker(objects, video_track(init), sound_track(tracks(init)))
    items, start = await maker.begin(evidence, shown)
    last = items[-1]
    cut = cut_of(last, evidence.window.to_us, items[-2] if len(items) > 1 else None)
    end = last_before(await objects.marks(last.entry, maker.track), cut)
    to_us = end.end_us if end else last.to_us
    front = lasting(init, to_us - start.at_us)
    cuts = maker.cuts(items, start.seq, evidence.window.to_us)
    return Clip(start.at_us, to_us, maker.content(front, start.at_us, cuts))


async def _inits(objects: Objects, segments: Sequence[IndexEntry]) -> dict[str, bytes]:
    """The init of each epoch."""
    slots = asyncio.Semaphore(INITS_AT_ONCE)

    async def read(entry: IndexEntry) -> bytes:
        async with slots:
            return await objects.init(entry)

    firsts = {entry.epoch: entry for entry in reversed(segments)}
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = {epoch: tasks.create_task(read(entry)) for epoch, entry in firsts.items()}
    except ExceptionGroup as failed:  # one is enough to say why
        raise failed.exceptions[0] from None
    return {epoch: task.result() for epoch, task in reading.items()}


@dataclass(frozen=True, slots=True)
class _Maker:
    objects: Objects
    track: Track
    sound: Track | None

    async def begin(self, evidence: Evidence, shown: Sequence[Shown]) -> tuple[list[Shown], Mark]:
        """The segments to take, and the fragment to begin with: the keyframe at or before the window's start.

        Where footage begins later, or no keyframe is left, it is the first fragment that there is.
        """
        first = shown[0]
        at_us = max(evidence.window.from_us, first.from_us)
        walked: list[IndexEntry] = []
        mark: Mark | None = None
        for entry in lead(entries(evidence.segments), first.entry, at_us):
            walked.append(entry)
            marks = await self.objects.marks(entry, self.track)
            if mark := keyframe_at(marks, at_us):
                break
        else:
            walked = [first.entry]
            mark = await self.objects.entered(first.entry, self.track, at_us)
        if mark is None:
            raise ValueError(f"the segment at {first.entry.start_us} ends before {at_us}")
        before = [Shown(e, e.start_us, e.end_us) for e in reversed(walked[1:])]
        return [*before, *shown], mark

    async def cuts(self, items: Sequence[Shown], first_seq: int, before_us: int) -> AsyncGenerator[Cut]:
        """What to take of each segment, settled where epochs meet."""
        entry_seq: int | None = first_seq
        for n, item in enumerate(items):
            following = items[n + 1] if n + 1 < len(items) else None
            cut = cut_of(item, before_us, items[n - 1] if n else None)
            if entry_seq is not None:
                cut = replace(cut, first_seq=max(cut.first_seq, entry_seq))
                entry_seq = None
            if following and is_seam(item, following):
                entry = await self.objects.entered(following.entry, self.track, following.from_us)
                if entry:
                    cut = seam(cut, await self.objects.marks(item.entry, self.track), entry)
                    entry_seq = entry.seq
            yield cut

    async def content(self, init: bytes, start_us: int, cuts: AsyncGenerator[Cut]) -> AsyncGenerator[bytes]:
        """The clip's bytes: the init, then what each block completes, while the next one is being read."""
        yield init
        placing, held = Placing(tracks(init), start_us), None
        async with (
            aclosing(cuts),
            aclosing(self._pieces(cuts)) as pieces,
            aclosing(ahead(pieces)) as coming,
        ):
            async for piece in coming:
                placed: list[Data] = []
                for found in piece.parts(self.track):
                    if held is not None:
                        placed += placing.place(held.part, found.late(held))
                    held = found if found.is_taken else None
                if placed:
                    yield b"".join(placed)
        if held is not None:
            yield b"".join(placing.place(held.part))

    async def _pieces(self, cuts: AsyncGenerator[Cut]) -> AsyncGenerator["_Piece"]:
        async for cut in cuts:
            reading = Reading(cut.entry, self.track, self.sound)
            async with aclosing(self.objects.blocks(cut.entry)) as blocks:
                async for block in blocks:
                    yield _Piece(cut, reading, block)
            yield _Piece(cut, reading, None)


@dataclass(frozen=True, slots=True)
class _Found:
    """A fragment of an epoch, which is taken, or merely follows one that is."""

    epoch: str
    part: Part
    is_taken: bool

    def late(self, before: "_Found") -> Sound:
        """Sound that may belong to the fragment before, and came too late to be stored with it."""
        return self.part.sound if self.epoch == before.epoch else NOTHING


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block of a segment of which `cut` is taken; None: it has ended."""

    cut: Cut
    reading: Reading
    block: bytes | None

    def parts(self, track: Track) -> Iterator[_Found]:
        """The fragments to take that it completes, and what follows them."""
        if self.block is None:
            self.reading.finish()
            return
        epoch = self.cut.entry.epoch
        for part in self.reading.feed(self.block):
            if part.seq < self.cut.first_seq:
                continue
            kept: Part | None = None
            if part.seq <= self.cut.last_seq and part.at_us < self.cut.before_us:
                kept = shortened(part, self.cut.before_us, track) if self.cut.trims else part
            yield _Found(epoch, kept or part, kept is not None)


@dataclass(frozen=True, slots=True)
class Gop:
    """An MP4 from a keyframe on, whose time 0 is `start_us`."""

    start_us: int
    video: bytes


async def gop(objects: Objects, evidence: Evidence, shown: Shown, at_us: int) -> Gop | None:
    """What has to be decoded for the picture that `shown` shows at `at_us`; None: no keyframe is stored before it.

    Holds one GOP in memory, whatever is read.
    """
    init = await objects.init(shown.entry)
    track = video_track(init)
    taken: list[Part] = []
    for entry in lead(entries(evidence.segments), shown.entry, at_us):
        found: list[Part] = []
        async with aclosing(objects.parts(entry, track)) as parts:
            async for part in parts:
                if part.at_us > at_us or (taken and part.seq >= taken[0].seq):
                    break
                if part.entry.is_keyframe and (not found or part.shown_us(track) <= at_us):
                    found.clear()
                found.append(part)
        taken = [*found, *taken]
        if taken and taken[0].entry.is_keyframe:
            placing = Placing(tracks(init), taken[0].at_us)
            return Gop(taken[0].at_us, init + b"".join(chain.from_iterable(map(placing.place, taken))))
    return None
