"""Splits objects into fragments as bytes arrive, and places the fragments in a clip's time.

Raises ValueError on malformed boxes (`districam_common.mp4.boxes`).
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from districam_api.core.clip_audio import NO_AUDIO, AudioRetimer, AudioSamples, audio_track, parse_audio
from districam_common.contract.segment_array import IndexEntry
from districam_common.contract.ticks import from_us, to_us
from districam_common.mp4 import boxes as mp4
from districam_common.mp4.boxes import Data, FragmentEntry, Track
from districam_common.mp4.writer import TrackRun, audio_run, fragment_header, video_run

MAX_CLOCK_DRIFT_US = 40_000
"""One picture at 25 fps: arrival at two replicas differs by less, and clocks take minutes to drift as far."""
_HEAD = struct.Struct(">I4s")  # size and type of a box (ISO 14496-12 4.2)


class FragmentSplitter:
    """Splits an object's media into fragments (`moof` and `mdat`) as bytes arrive."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The fragments that `data` completes, each a view; only one that began in earlier data is copied."""
        at = 0
        while self._buffer and at < len(data):
            missing = _fragment_size(self._buffer)[0] - len(self._buffer)
            self._buffer, at = self._buffer + data[at : at + missing], at + missing
            if _fragment_size(self._buffer) == (len(self._buffer), True):
                yield memoryview(self._buffer)
                self._buffer = b""
        view = memoryview(data)
        while at < len(data):
            size, is_all = _fragment_size(data, at)
            if not is_all or at + size > len(data):
                break
            yield view[at : at + size]
            at += size
        self._buffer += data[at:]

    def close(self) -> None:
        """Raises ValueError if the object ended inside a fragment."""
        if self._buffer:
            raise ValueError(f"the object ends inside a fragment: {len(self._buffer)} bytes are left")


def _fragment_size(data: bytes, at: int = 0) -> tuple[int, bool]:
    """The fragment's size as far as its box headers at `at` are there; and whether that is the whole size."""
    size = 0
    for kind in (b"moof", b"mdat"):
        if at + size + _HEAD.size > len(data):
            return size + _HEAD.size, False
        length, found = _HEAD.unpack_from(data, at + size)
        if found != kind or length < _HEAD.size:
            raise ValueError(f"not a {kind.decode()}: {length} bytes of {found!r}")
        size += length
    return size, True


@dataclass(frozen=True, slots=True)
class StoredFragment:
    """A fragment of an object; [start_us, end_us) on the wall clock, by its own ticks.

    Attributes:
        data: its bytes, usually a view.
        entry: its pictures; offsets into `data`.
        audio: its audio samples.
    """

    seq: int
    start_us: int
    end_us: int
    data: Data
    entry: FragmentEntry
    audio: AudioSamples = NO_AUDIO

    def presentation_us(self, track: Track) -> int:
        """When its first access unit is shown: later than its decode time where pictures are reordered."""
        return self.start_us + to_us(self.entry.samples[0].composition_offset, track.timescale)

    @property
    def picture_digest(self) -> bytes:
        """SHA-256 of the first access unit, which is the same in every epoch that received this picture."""
        first = self.entry.samples[0]
        return hashlib.sha256(self.data[first.offset : first.offset + first.size]).digest()

    def to_video_run(self, track: Track, dts: int) -> TrackRun:
        """Its pictures as a run that starts at `dts`; the media is a view of `data`.

        Raises:
            ValueError: the samples are not contiguous in `data`; those that ingest writes are.
        """
        found = self.entry.samples
        media = memoryview(self.data)[found[0].offset : found[-1].offset + found[-1].size]
        run = video_run(
            track.track_id, dts, [(s.duration, s.size, s.is_keyframe, s.composition_offset) for s in found], [media]
        )
        if run.size != len(media):
            raise ValueError("a fragment's video samples are not contiguous")
        return run


class FragmentParser:
    """Parses one object's fragments as its media arrives: `seq` and times count from the segment's.

    Without `audio_track` only pictures are read.
    """

    def __init__(self, segment: IndexEntry, track: Track, audio_track: Track | None = None) -> None:
        self._splitter = FragmentSplitter()
        self._segment = segment
        self._track = track
        self._audio_track = audio_track
        self._seq = segment.first_seq
        self._first_dts = 0

    def feed(self, data: bytes) -> Iterator[StoredFragment]:
        """The fragments that `data` completes."""
        return map(self.parse, self._splitter.feed(data))

    def close(self) -> None:
        """Raises ValueError if the media ended inside a fragment."""
        self._splitter.close()

    def parse(self, data: Data) -> StoredFragment:
        """Parses the next fragment."""
        found = mp4.fragments(data, self._track)
        if len(found) != 1:
            raise ValueError(f"{len(found)} fragments, not one")
        entry, seq = found[0], self._seq
        if seq == self._segment.first_seq:
            self._first_dts = entry.dts
        self._seq += 1
        audio = parse_audio(data, self._audio_track) if self._audio_track else NO_AUDIO
        return StoredFragment(seq, self._at(entry.dts), self._at(entry.dts + entry.duration), data, entry, audio)

    def _at(self, dts: int) -> int:
        return self._segment.start_us + to_us(dts - self._first_dts, self._track.timescale)


def trim_to(fragment: StoredFragment, end_us: int, track: Track) -> StoredFragment | None:
    """The access units of `fragment` that start before `end_us`; None if there are none."""
    entry = fragment.entry
    starts = [fragment.start_us + to_us(s.dts - entry.dts, track.timescale) for s in entry.samples]
    count = sum(at_us < end_us for at_us in starts)
    if count == len(starts):
        return fragment
    return (
        replace(fragment, end_us=starts[count], entry=replace(entry, samples=entry.samples[:count])) if count else None
    )


class ClipMuxer:
    """Assigns fragments their decode time, counted from the clip's start, and their sequence number.

    A fragment follows the previous one directly, unless that is off the wall clock by more than MAX_CLOCK_DRIFT_US:
    then it is placed by the wall clock, but never before media already written.
    """

    def __init__(self, tracks: list[Track], start_us: int) -> None:
        self._track = next(track for track in tracks if track.is_video)
        self._start_us = start_us
        self._max_drift = from_us(MAX_CLOCK_DRIFT_US, self._track.timescale)
        self._end: int = 0
        self._earliest: int = 0
        self._number = 0
        audio = audio_track(tracks)
        self._audio_retimer = AudioRetimer(audio, self._track.timescale) if audio else None

    def feed(self, fragment: StoredFragment, late_audio: AudioSamples = NO_AUDIO) -> tuple[Data, ...]:
        """The next fragment as written to the clip, in pieces; media is passed on without copying.

        `late_audio` is audio that was stored with the following fragment.
        """
        entry = fragment.entry
        dts = from_us(fragment.start_us - self._start_us, self._track.timescale)
        dts = self._end if abs(dts - self._end) <= self._max_drift else max(dts, self._earliest)
        self._end = dts + entry.duration
        self._earliest = self._end - entry.samples[-1].duration + 1
        self._number += 1
        runs = [fragment.to_video_run(self._track, dts)]
        if self._audio_retimer is not None:
            audio_samples = self._audio_retimer.feed((*fragment.audio, *late_audio), dts - entry.dts, self._end)
            runs += [audio_run(self._audio_retimer.track_id, audio_samples)] if audio_samples else []
        return (fragment_header(self._number, runs), *(piece for run in runs for piece in run.media))


def set_duration(init: bytes, length_us: int) -> bytes:
    """The init with the clip's duration in `mvhd` (ISO 14496-12 8.2.2), which players show at once."""
    mvhd = mp4.find_box(init, "moov", "mvhd")
    # timescale and duration of MovieHeaderBox, after creation_time and modification_time; 64 bits in version 1
    at, form = (mvhd.body + 20, ">IQ") if init[mvhd.body] else (mvhd.body + 12, ">II")
    out = bytearray(init)
    try:
        (rate,) = struct.unpack_from(">I", init, at)
        struct.pack_into(form, out, at, rate, from_us(length_us, rate))
    except struct.error as error:
        raise ValueError(f"a length of {length_us} µs does not fit: {error}") from error
    return bytes(out)


def codec_parameters(init: bytes) -> tuple[object, ...]:
    """What must be equal for fragments to share one init: tracks and sample entries (`stsd`)."""
    moov = mp4.find_box(init, "moov")
    traks = [box for box in mp4.boxes(init, moov.body, moov.end) if box.kind == "trak"]
    entries = [mp4.find_box(init, "mdia", "minf", "stbl", "stsd", within=trak) for trak in traks]
    return (*mp4.tracks(init), *(init[box.start : box.end] for box in entries))
