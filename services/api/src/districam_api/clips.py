"""Clips: a window's footage as one MP4 that is read from the store while it is sent."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain

from districam_api.core.clip_audio import NO_AUDIO, AudioSamples, audio_track
from districam_api.core.clip_fragments import (
    ClipMuxer,
    FragmentParser,
    StoredFragment,
    codec_parameters,
    set_duration,
    trim_to,
)
from districam_api.core.clip_plan import (
    CoverSegment,
    FragmentInfo,
    FragmentRange,
    compatible_windows,
    compute_range,
    has_epoch_overlap,
    keyframe_at,
    last_fragment,
    preroll_segments,
    trim_overlap,
)
from districam_api.core.concurrency_limiter import ConcurrencyLimiter
from districam_api.core.keys import NO_KEY
from districam_api.footage import WindowRecords
from districam_api.prefetch import prefetch
from districam_api.segment_reader import SegmentReader
from districam_common.contract.segment_array import IndexEntry, entries_from_array
from districam_common.errors import Rejected, Retriable
from districam_common.ledger.intervals import Interval
from districam_common.mp4.boxes import Data, Track, tracks, video_track

MAX_CONCURRENT_INIT_READS = 6


class Busy(Retriable):
    """The limit of clips sent at once is reached."""


class ParametersChanged(Rejected):
    """The codec parameters change inside the window, so it takes several clips. `windows` can each be one."""

    def __init__(self, windows: Sequence[Interval]) -> None:
        super().__init__("the camera changed its codec, size or parameters inside this window")
        self.windows = windows


class ClipSlots:
    """Limits the clips sent at once, in total and per key."""

    def __init__(self, max_total: int, max_per_key: int) -> None:
        self._max_total = max_total
        self._max_per_key = max_per_key
        self._limiter = ConcurrencyLimiter(max_total, max_per_key)

    @contextmanager
    def acquire(self, key_id: str) -> Generator[None]:
        """Holds a slot for the length of the block. Callers without a key (NO_KEY) count in the total only.

        Raises:
            Busy: no slot is free.
        """
        limit_key = None if key_id == NO_KEY else key_id
        match self._limiter.acquire(limit_key):
            case "all":
                raise Busy(f"{self._max_total} clips are being sent, the maximum (api.clips_at_once)")
            case "each":
                raise Busy(f"{self._max_per_key} clips are being sent to this key, the maximum (api.clips_per_key)")
            case None:
                pass
        try:
            yield
        finally:
            self._limiter.release(limit_key)


@dataclass(frozen=True, slots=True)
class Clip:
    """The wall-clock time that the clip covers, and its bytes. Always close `content`."""

    from_us: int
    to_us: int
    content: AsyncGenerator[bytes]


async def build_clip(reader: SegmentReader, records: WindowRecords, cover: Sequence[CoverSegment]) -> Clip:
    """Builds the clip of `cover`, which is the cover of the records' window and has at least one segment.

    Raises:
        ParametersChanged: it takes more than one clip. ObjectNotFound, Retriable: from the store.
    """
    inits = await _inits(reader, [one.entry for one in cover])
    windows = compatible_windows(
        cover, {epoch: codec_parameters(init) for epoch, init in inits.items()}, records.window
    )
    if len(windows) > 1:
        raise ParametersChanged(windows)
    init = inits[cover[0].entry.epoch]
    builder = _ClipBuilder(reader, video_track(init), audio_track(tracks(init)))
    items, start = await builder.find_start(records, cover)
    last = items[-1]
    fragment_range = compute_range(last, records.window.to_us, items[-2] if len(items) > 1 else None)
    end = last_fragment(await reader.fragment_infos(last.entry, builder.video_track), fragment_range)
    to_us = end.end_us if end else last.to_us
    clip_init = set_duration(init, to_us - start.start_us)
    ranges = builder.fragment_ranges(items, start.seq, records.window.to_us)
    return Clip(start.start_us, to_us, builder.content(clip_init, start.start_us, ranges))


async def _inits(reader: SegmentReader, segments: Sequence[IndexEntry]) -> dict[str, bytes]:
    """The init of each epoch, by epoch."""
    slots = asyncio.Semaphore(MAX_CONCURRENT_INIT_READS)

    async def read(entry: IndexEntry) -> bytes:
        async with slots:
            return await reader.read_init(entry)

    firsts = {entry.epoch: entry for entry in reversed(segments)}
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = {epoch: tasks.create_task(read(entry)) for epoch, entry in firsts.items()}
    except ExceptionGroup as failed:  # the first error is enough to report
        raise failed.exceptions[0] from None
    return {epoch: task.result() for epoch, task in reading.items()}


@dataclass(frozen=True, slots=True)
class _ClipBuilder:
    reader: SegmentReader
    video_track: Track
    audio_track: Track | None

    async def find_start(
        self, records: WindowRecords, cover: Sequence[CoverSegment]
    ) -> tuple[list[CoverSegment], FragmentInfo]:
        """The segments to read, and the first fragment: the keyframe at or before the window's start.

        If there is none, the first fragment that ends after the window's start.
        """
        first = cover[0]
        at_us = max(records.window.from_us, first.from_us)
        walked: list[IndexEntry] = []
        start: FragmentInfo | None = None
        for entry in preroll_segments(entries_from_array(records.segments), first.entry, at_us):
            walked.append(entry)
            fragments = await self.reader.fragment_infos(entry, self.video_track)
            if start := keyframe_at(fragments, at_us):
                break
        else:
            walked = [first.entry]
            start = await self.reader.fragment_at(first.entry, self.video_track, at_us)
        if start is None:
            raise ValueError(f"the segment at {first.entry.start_us} ends before {at_us}")
        before = [CoverSegment(e, e.start_us, e.end_us) for e in reversed(walked[1:])]
        return [*before, *cover], start

    async def fragment_ranges(
        self, items: Sequence[CoverSegment], first_seq: int, before_us: int
    ) -> AsyncGenerator[FragmentRange]:
        """The fragments to take of each segment, with overlaps between epochs removed."""
        start_seq: int | None = first_seq
        for n, item in enumerate(items):
            following = items[n + 1] if n + 1 < len(items) else None
            fragment_range = compute_range(item, before_us, items[n - 1] if n else None)
            if start_seq is not None:
                fragment_range = replace(fragment_range, first_seq=max(fragment_range.first_seq, start_seq))
                start_seq = None
            if following and has_epoch_overlap(item, following):
                next_start = await self.reader.fragment_at(following.entry, self.video_track, following.from_us)
                if next_start:
                    fragment_range = trim_overlap(
                        fragment_range, await self.reader.fragment_infos(item.entry, self.video_track), next_start
                    )
                    start_seq = next_start.seq
            yield fragment_range

    async def content(self, init: bytes, start_us: int, ranges: AsyncGenerator[FragmentRange]) -> AsyncGenerator[bytes]:
        """The clip's bytes: the init, then the fragments that each block completes, with read-ahead."""
        yield init
        muxer, pending = ClipMuxer(tracks(init), start_us), None
        async with (
            aclosing(ranges),
            aclosing(self._read_chunks(ranges)) as source,
            aclosing(prefetch(source)) as chunks,
        ):
            async for chunk in chunks:
                output: list[Data] = []
                for found in chunk.fragments(self.video_track):
                    if pending is not None:
                        output += muxer.feed(pending.fragment, found.late_audio(pending))
                    pending = found if found.is_included else None
                if output:
                    yield b"".join(output)
        if pending is not None:
            yield b"".join(muxer.feed(pending.fragment))

    async def _read_chunks(self, ranges: AsyncGenerator[FragmentRange]) -> AsyncGenerator["_Chunk"]:
        async for fragment_range in ranges:
            parser = FragmentParser(fragment_range.entry, self.video_track, self.audio_track)
            async with aclosing(self.reader.read_blocks(fragment_range.entry)) as blocks:
                async for block in blocks:
                    yield _Chunk(fragment_range, parser, block)
            yield _Chunk(fragment_range, parser, None)


@dataclass(frozen=True, slots=True)
class _ClipFragment:
    """A fragment of an epoch. If not included, it only follows an included one, whose late audio it may hold."""

    epoch: str
    fragment: StoredFragment
    is_included: bool

    def late_audio(self, previous: "_ClipFragment") -> AudioSamples:
        """Audio of `previous` that arrived too late to be stored with it; empty if the epochs differ."""
        return self.fragment.audio if self.epoch == previous.epoch else NO_AUDIO


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A block of the segment of `fragment_range`; None marks the segment's end."""

    fragment_range: FragmentRange
    parser: FragmentParser
    block: bytes | None

    def fragments(self, track: Track) -> Iterator[_ClipFragment]:
        """The fragments that the block completes, from `first_seq` on; those after the range are not included."""
        if self.block is None:
            self.parser.close()
            return
        epoch = self.fragment_range.entry.epoch
        for fragment in self.parser.feed(self.block):
            if fragment.seq < self.fragment_range.first_seq:
                continue
            kept: StoredFragment | None = None
            if fragment.seq <= self.fragment_range.last_seq and fragment.start_us < self.fragment_range.before_us:
                kept = (
                    trim_to(fragment, self.fragment_range.before_us, track)
                    if self.fragment_range.trims_access_units
                    else fragment
                )
            yield _ClipFragment(epoch, kept or fragment, kept is not None)


@dataclass(frozen=True, slots=True)
class Gop:
    """An MP4 that starts with a keyframe; its time 0 is `start_us`."""

    start_us: int
    video: bytes


async def read_gop(reader: SegmentReader, records: WindowRecords, segment: CoverSegment, at_us: int) -> Gop | None:
    """What must be decoded for the picture that `segment` shows at `at_us`; None if no earlier keyframe is stored.

    Holds at most one GOP in memory, however much is read.
    """
    init = await reader.read_init(segment.entry)
    track = video_track(init)
    fragments: list[StoredFragment] = []
    for entry in preroll_segments(entries_from_array(records.segments), segment.entry, at_us):
        found: list[StoredFragment] = []
        async with aclosing(reader.read_fragments(entry, track)) as source:
            async for fragment in source:
                if fragment.start_us > at_us or (fragments and fragment.seq >= fragments[0].seq):
                    break
                if fragment.entry.is_keyframe and (not found or fragment.presentation_us(track) <= at_us):
                    found.clear()
                found.append(fragment)
        fragments = [*found, *fragments]
        if fragments and fragments[0].entry.is_keyframe:
            muxer = ClipMuxer(tracks(init), fragments[0].start_us)
            return Gop(fragments[0].start_us, init + b"".join(chain.from_iterable(map(muxer.feed, fragments))))
    return None
