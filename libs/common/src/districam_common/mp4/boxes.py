"""Fragmented MP4 as we store it: boxes, samples and fragments of `ftyp moov (moof mdat)…` (ISO/IEC 14496-12).

Every function raises ValueError, and nothing else, on bytes that are not what they should be.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from typing import NamedTuple

Data = bytes | bytearray | memoryview
MAX_TRUN_SAMPLES = 1 << 16
"""In one `trun`; a fragment of ours holds seconds. More is garbage that would cost memory."""

_SAMPLE_FIELDS = {0x100: "I", 0x200: "I", 0x400: "I", 0x800: "i"}
"""Duration, size, flags and composition offset in a `trun`, section 8.8.8, by flag; in `struct`'s terms."""
_BOX_HEADER = struct.Struct(">I4s")
_NOT_SYNC = 0x10000  # sample_is_non_sync_sample, section 8.8.3.1


class Box(NamedTuple):  # as Sample: a clip of an hour has tens of thousands
    """[start, end) of the data it was found in; its content begins at `body`."""

    kind: str
    start: int
    body: int
    end: int


def boxes(data: Data, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes that tile [start, end) of `data`."""
    limit = len(data) if end is None else end
    at = start
    while at < limit:
        if at + _BOX_HEADER.size > len(data):
            raise ValueError(f"the data ends at {len(data)}, inside the head of a box at {at}")
        size, kind = _BOX_HEADER.unpack_from(data, at)
        body = at + _BOX_HEADER.size
        if size == 1:
            size, body = _integer(data, at + 8, 8), at + 16
        elif size == 0:
            size = limit - at
        if body > at + size or at + size > limit:
            raise ValueError(f"box {kind!r} at {at} does not fit: {size} bytes of {limit - at}")
        yield Box(kind.decode("latin1"), at, body, at + size)
        at += size


def find_box(data: Data, *path: str, within: Box | None = None) -> Box:
    """The first box of that path, such as `"moov", "trak"`, in `data` or in the box `within`."""
    found = within
    for kind in path:
        inside = boxes(data) if found is None else boxes(data, found.body, found.end)
        found = _first(inside, kind)
    assert found is not None, "a path names at least one box"
    return found


def _first(inside: Iterable[Box], kind: str) -> Box:
    found = next((box for box in inside if box.kind == kind), None)
    if found is None:
        raise ValueError(f"no box {kind}")
    return found


def init_of(data: bytes) -> bytes:
    """`ftyp` and `moov` at the front of a fragment or segment."""
    front = boxes(data)
    kinds = [(box.kind, box.end) for box, _ in zip(front, range(2), strict=False)]
    if [kind for kind, _ in kinds] != ["ftyp", "moov"]:
        raise ValueError(f"not ftyp, then moov, at the front: {[kind for kind, _ in kinds]}")
    return data[: kinds[-1][1]]


def _integer(data: Data, at: int, length: int, *, signed: bool = False) -> int:
    if at + length > len(data):
        raise ValueError(f"the data ends at {len(data)}, inside a field at {at}")
    return int.from_bytes(data[at : at + length], "big", signed=signed)


# ---- what the init says


@dataclass(frozen=True, slots=True)
class Track:
    """A track of the init: ticks a second, and what samples are unless a fragment says otherwise (`trex`)."""

    track_id: int
    is_video: bool
    timescale: int
    default_duration: int = 0
    default_size: int = 0
    default_flags: int = 0


def tracks(init: bytes) -> list[Track]:
    """All tracks, in the order of the init."""
    moov = find_box(init, "moov")
    defaults = dict(_trex_defaults(init, find_box(init, "mvex", within=moov)))
    traks = [box for box in boxes(init, moov.body, moov.end) if box.kind == "trak"]
    return [_track(init, trak, defaults) for trak in traks]


def video_track(init: bytes) -> Track:
    """The one video track."""
    found = [track for track in tracks(init) if track.is_video]
    if len(found) != 1:
        raise ValueError(f"{len(found)} video tracks, not one")
    return found[0]


def _trex_defaults(init: bytes, mvex: Box) -> Iterator[tuple[int, tuple[int, int, int]]]:
    for box in boxes(init, mvex.body, mvex.end):
        if box.kind == "trex":
            track_id, _, duration, size, flags = (_integer(init, box.body + 4 + 4 * n, 4) for n in range(5))
            yield track_id, (duration, size, flags)


def _track(init: bytes, trak: Box, defaults: dict[int, tuple[int, int, int]]) -> Track:
    tkhd, mdia = find_box(init, "tkhd", within=trak), find_box(init, "mdia", within=trak)
    mdhd, hdlr = find_box(init, "mdhd", within=mdia), find_box(init, "hdlr", within=mdia)
    track_id = _integer(init, tkhd.body + (20 if _version(init, tkhd) else 12), 4)
    timescale = _integer(init, mdhd.body + (20 if _version(init, mdhd) else 12), 4)
    if not timescale:
        raise ValueError(f"track {track_id} has a timescale of 0")
    is_video = init[hdlr.body + 8 : hdlr.body + 12] == b"vide"
    return Track(track_id, is_video, timescale, *defaults.get(track_id, (0, 0, 0)))


def _version(data: Data, box: Box) -> int:
    return _integer(data, box.body, 1)


# ---- what fragments say


class Sample(NamedTuple):  # made in a third of the time that a frozen dataclass takes
    """One access unit: where its bytes lie in the data, its times in ticks (`composition_offset`: shown that much after `dts`)."""

    offset: int
    size: int
    dts: int
    duration: int
    composition_offset: int
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class FragmentEntry:
    """The samples of one track in one `moof` and its `mdat`, at least one."""

    samples: tuple[Sample, ...]

    @property
    def dts(self) -> int:
        return self.samples[0].dts

    @property
    def duration(self) -> int:
        """Ticks until the last sample's end."""
        return self.samples[-1].dts + self.samples[-1].duration - self.samples[0].dts

    @property
    def is_keyframe(self) -> bool:
        return self.samples[0].is_keyframe


def fragments(data: Data, track: Track) -> list[FragmentEntry]:
    """The fragment table of `data`, a segment or a part of it that begins and ends at a box.

    Raises:
        ValueError: also when a fragment holds no sample of the track.
    """
    out: list[FragmentEntry] = []
    moof: Box | None = None
    for box in boxes(data):
        if box.kind == "moof":
            moof = box
        elif box.kind == "mdat" and moof:
            found = tuple(chain.from_iterable(_track_fragments(data, moof, track)))
            if not found or any(s.offset < box.body or s.offset + s.size > box.end for s in found):
                raise ValueError(f"the moof at {moof.start} has no samples in its mdat")
            out.append(FragmentEntry(found))
            moof = None
    return out


def samples(data: Data, track: Track) -> list[Sample]:
    """All samples of the track, in the order of `data`."""
    return [sample for entry in fragments(data, track) for sample in entry.samples]


def track_ids(data: Data) -> list[int]:
    """The track of each run of samples in the first fragment of `data`."""
    return [_track_id(data, find_box(data, "tfhd", within=traf)) for traf in _trafs(data, find_box(data, "moof"))]


def _trafs(data: Data, moof: Box) -> Iterator[Box]:
    return (box for box in boxes(data, moof.body, moof.end) if box.kind == "traf")


def _track_id(data: Data, header: Box) -> int:
    return _integer(data, header.body + 4, 4)


def _track_fragments(data: Data, moof: Box, track: Track) -> Iterator[list[Sample]]:
    """The samples of each `traf` of the track."""
    for traf in _trafs(data, moof):
        inside = list(boxes(data, traf.body, traf.end))
        tfhd = _first(inside, "tfhd")
        if _track_id(data, tfhd) == track.track_id:
            tfdt = _first(inside, "tfdt")
            yield _parse_traf(data, inside, tfdt, _parse_tfhd(data, tfhd, moof, track))


@dataclass(frozen=True, slots=True)
class _TfhdDefaults:
    """`tfhd`, with the init's defaults filled in."""

    base: int
    duration: int
    size: int
    flags: int


class _FieldReader:
    """Reads a full box's fields one after another."""

    def __init__(self, data: Data, box: Box, skip: int) -> None:
        self._data, self._at = data, box.body + 4 + skip
        self.flags = _integer(data, box.body + 1, 3)

    def read(self, length: int, *, signed: bool = False) -> int:
        self._at += length
        return _integer(self._data, self._at - length, length, signed=signed)

    def read_optional(self, flag: int, default: int, length: int = 4) -> int:
        """The next field if the box's flags say that it is there."""
        return self.read(length) if self.flags & flag else default

    def read_columns(self, known: Mapping[int, str], count: int) -> dict[int, tuple[int, ...]]:
        """By flag, the values of each field that all of the next `count` rows have."""
        present = [flag for flag in known if self.flags & flag]
        row = struct.Struct(">" + "".join(known[flag] for flag in present))
        end = self._at + count * row.size
        if end > len(self._data):
            raise ValueError(f"the data ends at {len(self._data)}, inside a run that ends at {end}")
        if not present:
            return {}
        rows = row.iter_unpack(self._data[self._at : end])
        return dict(zip(present, zip(*rows, strict=True), strict=False))


def _parse_tfhd(data: Data, box: Box, moof: Box, track: Track) -> _TfhdDefaults:
    fields = _FieldReader(data, box, skip=4)
    base = fields.read_optional(0x01, moof.start, 8)
    fields.read_optional(0x02, 0)
    return _TfhdDefaults(
        base,
        fields.read_optional(0x08, track.default_duration),
        fields.read_optional(0x10, track.default_size),
        fields.read_optional(0x20, track.default_flags),
    )


def _parse_traf(data: Data, inside: list[Box], tfdt: Box, defaults: _TfhdDefaults) -> list[Sample]:
    dts = _FieldReader(data, tfdt, skip=0).read(8 if _version(data, tfdt) else 4)
    offset, found = defaults.base, list[Sample]()
    for box in inside:
        if box.kind == "trun":
            run, offset, dts = _parse_trun(data, box, defaults, offset, dts)
            found += run
    return found


def _parse_trun(data: Data, box: Box, defaults: _TfhdDefaults, offset: int, dts: int) -> tuple[list[Sample], int, int]:
    """The samples of a `trun`, and where the next one's begin: in the data, and in time."""
    fields = _FieldReader(data, box, skip=0)
    count = fields.read(4)
    if count > MAX_TRUN_SAMPLES:
        raise ValueError(f"a run of {count} samples")
    if fields.flags & 0x01:
        offset = defaults.base + fields.read(4, signed=True)
    first_flags = fields.read_optional(0x04, defaults.flags)
    columns = fields.read_columns(_SAMPLE_FIELDS, count)
    durations = columns.get(0x100, (defaults.duration,) * count)
    sizes = columns.get(0x200, (defaults.size,) * count)
    flags = columns.get(0x400) or chain((first_flags,), repeat(defaults.flags, count - 1))
    composition_offsets = columns.get(0x800, repeat(0, count))
    offsets, decode_times = [*accumulate(sizes, initial=offset)], [*accumulate(durations, initial=dts)]
    are_keyframes = [not flag & _NOT_SYNC for flag in flags]
    found = [*map(Sample, offsets, sizes, decode_times, durations, composition_offsets, are_keyframes)]
    return found, offsets[-1], decode_times[-1]
