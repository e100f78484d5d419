"""The sound beside a clip's pictures: parted from them while they are laid out, and joined to them again.

Raises ValueError on bytes that are not what they should be (`districam_common.mp4`).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from districam_common import mp4
from districam_common.mp4 import Box, Data, Track
from districam_common.ticks import from_us

OVERLAP_US = 20_000
"""Two replicas place the same sound this near to one another."""
_BASE_IS_MOOF, _DATA_OFFSET, _DURATION, _SIZE = 0x020000, 0x01, 0x100, 0x200


@dataclass(frozen=True, slots=True)
class SoundUnit:
    """One access unit; ticks of the sound's own rate."""

    dts: int
    duration: int
    data: bytes


Sound = tuple[SoundUnit, ...]
NOTHING: Sound = ()


def parted(data: Data, video: Track) -> tuple[Data, Sound]:
    """A fragment's pictures, as a fragment of themselves alone, and its sound.

    Raises:
        ValueError: the run of pictures does not say where its media begins; ours do.
    """
    moof = mp4.find(data, "moof")
    others = [traf for traf in _trafs(data, moof) if _track_id(data, traf) != video.track_id]
    if not others:
        return data, NOTHING
    track = Track(_track_id(data, others[0]), is_video=False, timescale=1)
    sound = tuple(
        SoundUnit(one.dts, one.duration, bytes(data[one.offset : one.offset + one.size]))
        for one in mp4.samples(data, track)
    )
    pictures = mp4.samples(data, video)
    media = data[pictures[0].offset : pictures[-1].offset + pictures[-1].size]
    kept = [box for box in mp4.boxes(data, moof.body, moof.end) if box not in others]
    body = b"".join(data[box.start : box.end] for box in kept)
    return _fragment(body, media), sound


def joined(pictures: Data, track_id: int, sound: Sequence[SoundUnit]) -> bytes:
    """The fragment with that sound behind its pictures; some."""
    moof, mdat = mp4.boxes(pictures)
    body, media = pictures[moof.body : moof.end], pictures[mdat.body : mdat.end]
    rows = [figure for unit in sound for figure in (unit.duration, len(unit.data))]
    size = 8 + len(body) + _traf_size(len(sound))
    run = struct.pack(
        f">III{len(rows)}I", _DATA_OFFSET | _DURATION | _SIZE, len(sound), size + 8 + len(media), *rows
    )
    header = struct.pack(">II", _BASE_IS_MOOF, track_id)
    clock = struct.pack(">IQ", 1 << 24, sound[0].dts)
    traf = _box(b"traf", _box(b"tfhd", header), _box(b"tfdt", clock), _box(b"trun", run))
    return _fragment(b"".join((body, traf)), media, *(unit.data for unit in sound))


class SoundPlacing:
    """Gives the sound of a clip's fragments its place: beside the pictures as it was stored, nothing twice."""

    def __init__(self, track: Track, video_rate: int) -> None:
        self.track_id = track.track_id
        self._rate, self._video_rate = track.timescale, video_rate
        self._end = 0

    def place(self, sound: Sequence[SoundUnit], by: int, end: int) -> list[SoundUnit]:
        """Of a fragment whose pictures are moved `by` and end at `end`, both in their ticks.

        What starts before the clip, before what is there already, or behind the pictures is left out.
        """
        by, end = by * self._rate // self._video_rate, end * self._rate // self._video_rate
        placed: list[SoundUnit] = []
        for unit in sound:
            start, until = unit.dts + by, unit.dts + by + unit.duration
            overlap = min(from_us(OVERLAP_US, self._rate), unit.duration // 2)
            if start < max(0, self._end - overlap) or start >= end:
                continue
            start = max(start, self._end)
            if placed and placed[-1].dts + placed[-1].duration < start:  # a run of samples has no gaps
                last = placed.pop()
                placed.append(SoundUnit(last.dts, start - last.dts, last.data))
            placed.append(SoundUnit(start, until - start, unit.data))
            self._end = until
        return placed


def _fragment(body: bytes, *media: Data) -> bytes:
    """`moof` of these boxes and `mdat`, the first run's media at its front."""
    moof = bytearray(_box(b"moof", body))
    trun = mp4.find(bytes(moof), "moof", "traf", "trun")
    if not moof[trun.body + 3] & _DATA_OFFSET:
        raise ValueError("a run of samples does not say where its media begins")
    moof[trun.body + 8 : trun.body + 12] = (len(moof) + 8).to_bytes(4, "big")
    return b"".join((moof, (sum(map(len, media)) + 8).to_bytes(4, "big"), b"mdat", *media))


def _traf_size(count: int) -> int:
    return 8 + 16 + 20 + 8 + 12 + 8 * count


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def _trafs(data: Data, moof: Box) -> list[Box]:
    return [box for box in mp4.boxes(data, moof.body, moof.end) if box.kind == "traf"]


def _track_id(data: Data, traf: Box) -> int:
    header = mp4.find(data, "tfhd", within=traf)
    return int.from_bytes(data[header.body + 4 : header.body + 8], "big")
