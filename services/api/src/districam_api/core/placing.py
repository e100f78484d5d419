"""Fragments on their way from objects into a clip: split as bytes arrive, and given their place in the clip's time.

Raises ValueError on bytes that are not what they should be (`districam_common.mp4`).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from districam_api.core.sound import NOTHING, Sound, SoundPlacing, joined, parted
from districam_common import mp4
from districam_common.index import IndexEntry
from districam_common.mp4 import Box, FragmentEntry, Track
from districam_common.ticks import from_us, to_us

SLACK_US = 40_000
"""A usual picture: arrival at two replicas differs by less, and a camera's quartz takes minutes to be off by as much."""
_TRUN_FIELDS = (0x100, 0x200, 0x400, 0x800)
"""Flags of the fields that each sample of a `trun` has, four bytes each (ISO/IEC 14496-12, 8.8.8)."""


class Splitter:
    """Cuts the media part of an object into fragments, a `moof` and its `mdat` each, while it is being read."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The fragments that `data` completes."""
        data = (
            self._held + data if self._held else data
        )  # usually blocks hold many fragments: few bytes are moved
        at = 0
        while size := _first_whole(data, at):
            yield data[at : at + size]
            at += size
        self._held = data[at:]

    def finish(self) -> None:
        """Says that the object has ended."""
        if self._held:
            raise ValueError(f"the object ends inside a fragment: {len(self._held)} bytes are left")


def _first_whole(data: bytes, at: int) -> int:
    """Size of the fragment at `at`; 0 while it is not all there."""
    size = 0
    for kind in (b"moof", b"mdat"):
        head = data[at + size : at + size + 8]
        if len(head) < 8:
            return 0
        length = int.from_bytes(head[:4], "big")
        if head[4:] != kind or length < 8:
            raise ValueError(f"not a {kind.decode()}: {head.hex()}")
        size += length
    return size if at + size <= len(data) else 0


@dataclass(frozen=True, slots=True)
class Part:
    """A fragment of an object, [at_us, end_us) of it on our clock as far as its own ticks say.

    Attributes:
        data: its pictures, as if there were nothing else.
        entry: the pictures in `data`.
        sound: what is beside them.
    """

    seq: int
    at_us: int
    end_us: int
    data: bytes
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

    def part(self, data: bytes) -> Part:
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


def _with_first_samples(data: bytes, count: int, media_end: int) -> bytes:
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
    return bytes(out) + (8 + len(media)).to_bytes(4, "big") + b"mdat" + media


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

    def place(self, part: Part, late: Sound = NOTHING) -> bytes:
        """The next fragment as it stands in the clip; `late` is sound that was stored with the one behind it."""
        entry = part.entry
        dts = from_us(part.at_us - self._start_us, self._rate)
        dts = self._end if abs(dts - self._end) <= self._slack else max(dts, self._earliest)
        self._end = dts + entry.duration
        self._earliest = self._end - entry.samples[-1].duration + 1
        self._number += 1
        by = dts - entry.dts
        moved = self._moved(part.data, by)
        if self._sound is None:
            return moved
        sound = self._sound.place((*part.sound, *late), by, self._end)
        return joined(moved, self._sound.track_id, sound)

    def _moved(self, data: bytes, by: int) -> bytes:
        moof = mp4.find(data, "moof")
        out = bytearray(data[: moof.end])
        _write(out, mp4.find(data, "mfhd", within=moof).body + 4, self._number)
        self._move(out, mp4.find(data, "traf", "tfdt", within=moof), by)
        return b"".join((out, memoryview(data)[moof.end :]))

    @staticmethod
    def _move(out: bytearray, tfdt: Box, by: int) -> None:
        length = 8 if out[tfdt.body] else 4
        at = tfdt.body + 4
        _write(out, at, max(0, _integer(out, at, length) + by), length)


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


def _integer(data: bytes | bytearray, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")


def _write(out: bytearray, at: int, value: int, length: int = 4) -> None:
    try:
        out[at : at + length] = value.to_bytes(length, "big")
    except OverflowError as error:
        raise ValueError(f"{value} does not fit in {length} bytes") from error
