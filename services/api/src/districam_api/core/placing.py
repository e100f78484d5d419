"""Fragments on their way from objects into a clip: split as bytes arrive, and given their place in the clip's time.

Raises ValueError on bytes that are not what they should be (`districam_common.mp4`).
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from districam_api.core.sound import NOTHING, Sound, SoundPlacing, joined, parted
from districam_common import mp4
from districam_common.index import IndexEntry
from districam_common.mp4 import Data, FragmentEntry, Track
from districam_common.ticks import from_us, to_us

SLACK_US = 40_000
"""A usual picture: arrival at two replicas differs by less, and a camera's quartz takes minutes to be off by as much."""
_HEAD = struct.Struct(">I4s")
_TRUN_FIELDS = (0x100, 0x200, 0x400, 0x800)
"""Flags of the fields that each sample of a `trun` has, four bytes each (ISO/IEC 14496-12, 8.8.8)."""


class Splitter:
    """Cuts the media part of an object into fragments, a `moof` and its `mdat` each, while it is being read."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The fragments that `data` completes, each a view of it; only one that began before is copied."""
        at = 0
        while self._held and at < len(data):
            lacking = _known(self._held)[0] - len(self._held)
            self._held, at = self._held + data[at : at + lacking], at + lacking
            if _known(self._held) == (len(self._held), True):
                yield memoryview(self._held)
                self._held = b""
        view = memoryview(data)
        while at < len(data):
            size, is_all = _known(data, at)
            if not is_all or at + size > len(data):
                break
            yield view[at : at + size]
            at += size
        self._held += data[at:]

    def finish(self) -> None:
        """Says that the object has ended."""
        if self._held:
            raise ValueError(f"the object ends inside a fragment: {len(self._held)} bytes are left")


def _known(data: bytes, at: int = 0) -> tuple[int, bool]:
    """How long the fragment at `at` is at least, by what is there of it; and whether that is its size."""
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
class Part:
    """A fragment of an object, [at_us, end_us) of it on our clock as far as its own ticks say.

    Attributes:
        data: its pictures, as if there were nothing else; usually a view of what was read.
        entry: the pictures in `data`.
        sound: what is beside them.
    """

    seq: int
    at_us: int
    end_us: int
    data: Data
    entry: FragmentEntry
    sound: Sound = NOTHING

    def shown_us(self, track: Track) -> int:
        """When its first access unit is shown: decoding is earlier where pictures are reordered."""
        return self.at_us + to_us(self.entry.samples[0].cts, track.timescale)

    @property
    def picture(self) -> bytes:
        """Digest of the first access unit: the same picture in two epochs has the same bytes."""
        first = self.entry.samples[0]
        return hashlib.sha256(self.data[first.offset : first.offset + first.size]).digest()


class Reading:
    """Numbers and times the fragments of one object, given in its order: `seq` goes up by one, times from its start."""

    def __init__(self, segment: IndexEntry, track: Track) -> None:
        self._segment = segment
        self._track = track
        self._seq = segment.first_seq
        self._first_dts = 0

    def part(self, data: Data) -> Part:
        """The next fragment."""
        data, sound = parted(data, self._track)
        found = mp4.fragments(data, self._track)
        if len(found) != 1:
            raise ValueError(f"{len(found)} fragments, not one")
        entry, seq = found[0], self._seq
        if seq == self._segment.first_seq:
            self._first_dts = entry.dts
        self._seq += 1
        return Part(seq, self._at(entry.dts), self._at(entry.dts + entry.duration), data, entry, sound)

    def _at(self, dts: int) -> int:
        return self._segment.start_us + to_us(dts - self._first_dts, self._track.timescale)


def shortened(part: Part, to_at_us: int, track: Track) -> Part | None:
    """The access units of `part` that begin before `to_at_us`; None where there are none.

    Raises:
        ValueError: the fragment has more than one run of pictures; ours have one.
    """
    entry = part.entry
    starts = [part.at_us + to_us(s.dts - entry.dts, track.timescale) for s in entry.samples]
    kept = entry.samples[: sum(at_us < to_at_us for at_us in starts)]
    if not kept:
        return None
    if len(kept) == len(entry.samples):
        return part
    data = _with_first_samples(part.data, len(kept), kept[-1].offset + kept[-1].size)
    (entry,) = mp4.fragments(data, track)
    return Part(part.seq, part.at_us, starts[len(kept)], data, entry, part.sound)


def _with_first_samples(data: Data, count: int, media_end: int) -> bytes:
    """The fragment with the first `count` samples, whose bytes end at `media_end`."""
    moof, mdat = mp4.boxes(data)
    (traf,) = [box for box in mp4.boxes(data, moof.body, moof.end) if box.kind == "traf"]
    (trun,) = [box for box in mp4.boxes(data, traf.body, traf.end) if box.kind == "trun"]
    if trun.end != moof.end:
        raise ValueError("the run of samples is not the last of its moof")
    flags = _integer(data, trun.body, 4) & 0xFFFFFF
    each = 4 * sum(bool(flags & field) for field in _TRUN_FIELDS)
    gone = each * (_integer(data, trun.body + 4, 4) - count)
    out = bytearray(data[: moof.end - gone])
    for box in (moof, traf, trun):
        _write(out, box.start, box.end - box.start - gone)
    _write(out, trun.body + 4, count)
    if flags & 1:  # where its media begins, counted from the moof
        _write(out, trun.body + 8, _integer(data, trun.body + 8, 4) - gone)
    media = data[mdat.body : media_end]
    return b"".join((out, (8 + len(media)).to_bytes(4, "big"), b"mdat", media))


class Placing:
    """Gives each fragment of a clip its `tfdt`, counted from the clip's start, and its running number, in place.

    A fragment goes on where the one before ended, as its media does, unless that is off our clock by more than
    SLACK_US: then it is laid where our clock says, though never before what is there already.
    """

    def __init__(self, tracks: list[Track], start_us: int) -> None:
        self._rate: int = next(track.timescale for track in tracks if track.is_video)
        self._start_us = start_us
        self._slack = from_us(SLACK_US, self._rate)
        self._end: int = 0
        self._earliest: int = 0
        self._number = 0
        heard = next((track for track in tracks if not track.is_video), None)
        self._sound = SoundPlacing(heard, self._rate) if heard else None

    def place(self, part: Part, late: Sound = NOTHING) -> tuple[Data, ...]:
        """The next fragment as it stands in the clip, in pieces: its media is passed on as it is, not copied.

        `late` is sound that was stored with the one behind it.
        """
        entry = part.entry
        dts = from_us(part.at_us - self._start_us, self._rate)
        dts = self._end if abs(dts - self._end) <= self._slack else max(dts, self._earliest)
        self._end = dts + entry.duration
        self._earliest = self._end - entry.samples[-1].duration + 1
        self._number += 1
        by = dts - entry.dts
        moof, media = self._moved(part, by)
        if self._sound is None:
            return moof, media
        sound = self._sound.place((*part.sound, *late), by, self._end)
        if not sound:
            return moof, media
        return (joined(b"".join((moof, media)), self._sound.track_id, sound),)

    def _moved(self, part: Part, by: int) -> tuple[bytearray, memoryview]:
        """The `moof` moved by so many ticks, and what is behind it."""
        moof, tfdt = part.entry.moof, part.entry.tfdt
        out = bytearray(part.data[: moof.end])
        _write(out, mp4.find(out, "mfhd", within=moof).body + 4, self._number)
        at, length = tfdt.body + 4, 8 if out[tfdt.body] else 4
        _write(out, at, max(0, _integer(out, at, length) + by), length)
        return out, memoryview(part.data)[moof.end :]


def lasting(init: bytes, length_us: int) -> bytes:
    """The init of a clip of that length: players show it, and need not read to the end (`mvhd`, 8.2.2)."""
    out = bytearray(init)
    mvhd = mp4.find(init, "moov", "mvhd")
    at, length = (mvhd.body + 20, 8) if init[mvhd.body] else (mvhd.body + 12, 4)
    rate = _integer(init, at, 4)
    _write(out, at + 4, from_us(length_us, rate), length)
    return bytes(out)


def shape(init: bytes) -> tuple[object, ...]:
    """What must be equal for fragments to follow one another under one init: tracks and parameter sets."""
    moov = mp4.find(init, "moov")
    traks = [box for box in mp4.boxes(init, moov.body, moov.end) if box.kind == "trak"]
    entries = [mp4.find(init, "mdia", "minf", "stbl", "stsd", within=trak) for trak in traks]
    return (*mp4.tracks(init), *(init[box.start : box.end] for box in entries))


def _integer(data: Data, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")


def _write(out: bytearray, at: int, value: int, length: int = 4) -> None:
    try:
        out[at : at + length] = value.to_bytes(length, "big")
    except OverflowError as error:
        raise ValueError(f"{value} does not fit in {length} bytes") from error
