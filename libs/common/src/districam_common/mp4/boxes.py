"""Parses fragmented MP4, `ftyp moov (moof mdat)…`, into boxes, samples and fragments (ISO/IEC 14496-12).

Every function raises ValueError, and nothing else, on malformed data.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from typing import NamedTuple

Data = bytes | bytearray | memoryview
MAX_TRUN_SAMPLES = 1 << 16
"""Maximum `sample_count` of one `trun`. Our fragments hold seconds; a malformed count must not take memory."""

_SAMPLE_FIELDS = {0x100: "I", 0x200: "I", 0x400: "I", 0x800: "i"}
"""`struct` format by `tr_flags` (section 8.8.8): sample_duration, sample_size, sample_flags,
sample_composition_time_offset."""
_BOX_HEADER = struct.Struct(">I4s")  # size, type: section 4.2
_NOT_SYNC = 0x10000  # sample_is_non_sync_sample, section 8.8.3.1


class Box(NamedTuple):  # a tuple for speed, as Sample: a clip of an hour has tens of thousands
    """[start, end) in the data it was parsed from; the content after the box header begins at `body`."""

    kind: str
    start: int
    body: int
    end: int


def boxes(data: Data, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The consecutive boxes of [start, end) of `data` (section 4.2)."""
    limit = len(data) if end is None else end
    at = start
    while at < limit:
        if at + _BOX_HEADER.size > len(data):
            raise ValueError(f"the data ends at {len(data)}, inside the header of a box at {at}")
        size, kind = _BOX_HEADER.unpack_from(data, at)
        body = at + _BOX_HEADER.size
        if size == 1:  # largesize follows
            size, body = _integer(data, at + 8, 8), at + 16
        elif size == 0:  # the box extends to the end of the file
            size = limit - at
        if body > at + size or at + size > limit:
            raise ValueError(f"box {kind!r} at {at} does not fit: {size} bytes of {limit - at}")
        yield Box(kind.decode("latin1"), at, body, at + size)
        at += size


def find_box(data: Data, *path: str, within: Box | None = None) -> Box:
    """The first box at that path, such as `"moov", "trak"`, in `data` or in the box `within`."""
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
    """The init, `ftyp` and `moov`, at the front of a fragment or segment."""
    front = boxes(data)
    kinds = [(box.kind, box.end) for box, _ in zip(front, range(2), strict=False)]
    if [kind for kind, _ in kinds] != ["ftyp", "moov"]:
        raise ValueError(f"not ftyp, then moov, at the front: {[kind for kind, _ in kinds]}")
    return data[: kinds[-1][1]]


def _integer(data: Data, at: int, length: int, *, signed: bool = False) -> int:
    if at + length > len(data):
        raise ValueError(f"the data ends at {len(data)}, inside a field at {at}")
    return int.from_bytes(data[at : at + length], "big", signed=signed)


# ---- the init: moov


@dataclass(frozen=True, slots=True)
class Track:
    """A track of the init: its timescale (ticks per second), and the sample defaults of its `trex` (section 8.8.3)."""

    track_id: int
    is_video: bool
    timescale: int
    default_duration: int = 0
    default_size: int = 0
    default_flags: int = 0


def tracks(init: bytes) -> list[Track]:
    """All tracks of `moov`, in order."""
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
            # track_ID, default_sample_description_index, default_sample_duration, _size, _flags: section 8.8.3
            track_id, _, duration, size, flags = (_integer(init, box.body + 4 + 4 * n, 4) for n in range(5))
            yield track_id, (duration, size, flags)


def _track(init: bytes, trak: Box, defaults: dict[int, tuple[int, int, int]]) -> Track:
    tkhd, mdia = find_box(init, "tkhd", within=trak), find_box(init, "mdia", within=trak)
    mdhd, hdlr = find_box(init, "mdhd", within=mdia), find_box(init, "hdlr", within=mdia)
    # Version 1 has 64-bit creation_time and modification_time in front of both fields.
    track_id = _integer(init, tkhd.body + (20 if _version(init, tkhd) else 12), 4)  # track_ID: section 8.3.2
    timescale = _integer(init, mdhd.body + (20 if _version(init, mdhd) else 12), 4)  # timescale: section 8.4.2
    if not timescale:
        raise ValueError(f"track {track_id} has a timescale of 0")
    is_video = init[hdlr.body + 8 : hdlr.body + 12] == b"vide"  # handler_type: section 8.4.3
    return Track(track_id, is_video, timescale, *defaults.get(track_id, (0, 0, 0)))


def _version(data: Data, box: Box) -> int:
    return _integer(data, box.body, 1)


# ---- fragments: moof and mdat


class Sample(NamedTuple):  # three times as fast to create as a frozen dataclass
    """One access unit: position of its bytes in the data; times in ticks. Presentation time is `dts + composition_offset`."""

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
    """The fragments of `data`, a segment or a part of it that begins and ends at a box boundary.

    Raises:
        ValueError: malformed data, or a fragment without a sample of the track.
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
    """The track_ID of each `traf` in the first fragment of `data`."""
    return [_track_id(data, find_box(data, "tfhd", within=traf)) for traf in _trafs(data, find_box(data, "moof"))]


def _trafs(data: Data, moof: Box) -> Iterator[Box]:
    return (box for box in boxes(data, moof.body, moof.end) if box.kind == "traf")


def _track_id(data: Data, header: Box) -> int:
    return _integer(data, header.body + 4, 4)  # tfhd, track_ID: section 8.8.7


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
    """The fields of `tfhd`, with the defaults of `trex` for those that are absent (section 8.8.7)."""

    base: int
    duration: int
    size: int
    flags: int


class _FieldReader:
    """Reads the fields of a FullBox (version, flags) one after another; `skip` bytes of fields are skipped first."""

    def __init__(self, data: Data, box: Box, skip: int) -> None:
        self._data, self._at = data, box.body + 4 + skip
        self.flags = _integer(data, box.body + 1, 3)

    def read(self, length: int, *, signed: bool = False) -> int:
        self._at += length
        return _integer(self._data, self._at - length, length, signed=signed)

    def read_optional(self, flag: int, default: int, length: int = 4) -> int:
        """The next field if `flag` is set in the box's flags, else `default`."""
        return self.read(length) if self.flags & flag else default

    def read_columns(self, known: Mapping[int, str], count: int) -> dict[int, tuple[int, ...]]:
        """By flag, the values of each field present in the next `count` rows (all rows have the same fields)."""
        present = [flag for flag in known if self.flags & flag]
        row = struct.Struct(">" + "".join(known[flag] for flag in present))
        end = self._at + count * row.size
        if end > len(self._data):
            raise ValueError(f"the data ends at {len(self._data)}, inside a trun that ends at {end}")
        if not present:
            return {}
        rows = row.iter_unpack(self._data[self._at : end])
        return dict(zip(present, zip(*rows, strict=True), strict=False))


def _parse_tfhd(data: Data, box: Box, moof: Box, track: Track) -> _TfhdDefaults:
    fields = _FieldReader(data, box, skip=4)
    base = fields.read_optional(0x01, moof.start, 8)  # base_data_offset
    fields.read_optional(0x02, 0)  # sample_description_index
    return _TfhdDefaults(
        base,
        fields.read_optional(0x08, track.default_duration),  # default_sample_duration
        fields.read_optional(0x10, track.default_size),  # default_sample_size
        fields.read_optional(0x20, track.default_flags),  # default_sample_flags
    )


def _parse_traf(data: Data, inside: list[Box], tfdt: Box, defaults: _TfhdDefaults) -> list[Sample]:
    dts = _FieldReader(data, tfdt, skip=0).read(8 if _version(data, tfdt) else 4)  # baseMediaDecodeTime: 8.8.12
    offset, found = defaults.base, list[Sample]()
    for box in inside:
        if box.kind == "trun":
            run, offset, dts = _parse_trun(data, box, defaults, offset, dts)
            found += run
    return found


def _parse_trun(data: Data, box: Box, defaults: _TfhdDefaults, offset: int, dts: int) -> tuple[list[Sample], int, int]:
    """The samples of a `trun` (section 8.8.8), and the data offset and decode time at which the next one's begin."""
    fields = _FieldReader(data, box, skip=0)
    count = fields.read(4)  # sample_count
    if count > MAX_TRUN_SAMPLES:
        raise ValueError(f"a trun of {count} samples; the maximum is {MAX_TRUN_SAMPLES}")
    if fields.flags & 0x01:
        offset = defaults.base + fields.read(4, signed=True)  # data_offset
    first_flags = fields.read_optional(0x04, defaults.flags)  # first_sample_flags
    columns = fields.read_columns(_SAMPLE_FIELDS, count)
    durations = columns.get(0x100, (defaults.duration,) * count)
    sizes = columns.get(0x200, (defaults.size,) * count)
    flags = columns.get(0x400) or chain((first_flags,), repeat(defaults.flags, count - 1))
    composition_offsets = columns.get(0x800, repeat(0, count))
    offsets, decode_times = [*accumulate(sizes, initial=offset)], [*accumulate(durations, initial=dts)]
    are_keyframes = [not flag & _NOT_SYNC for flag in flags]
    found = [*map(Sample, offsets, sizes, decode_times, durations, composition_offsets, are_keyframes)]
    return found, offsets[-1], decode_times[-1]
