"""Writes fragments of an MP4: `moof` and `mdat` (ISO/IEC 14496-12 section 8.8).

Ingest compiles this module (mypyc), since it runs for each fragment of each camera; a muxer costs five times as much.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from districam_common.mp4.boxes import Data

_SYNC: Final = 0x02000000  # sample_depends_on = 2 (section 8.8.3.1)
_NOT_SYNC: Final = 0x01010000  # sample_depends_on = 1, sample_is_non_sync_sample = 1
_DEFAULT_BASE_IS_MOOF: Final = 0x020000  # tfhd: default-base-is-moof (section 8.8.7)
_DEFAULT_FLAGS: Final = 0x20  # tfhd: default-sample-flags-present
_DATA_OFFSET: Final = 0x01  # trun: data-offset-present (section 8.8.8)
_DURATION_SIZE: Final = 0x300  # trun: sample-duration-present, sample-size-present
_SAMPLE_FLAGS: Final = 0x400  # trun: sample-flags-present
_COMPOSITION_OFFSET: Final = 0x800  # trun: sample-composition-time-offsets-present
_TRAF_BYTES: Final = 8 + 20 + 20 + 20
"""Size of a `traf` without samples: its header, `tfhd`, `tfdt`, `trun`."""


@dataclass(frozen=True, slots=True)
class AudioSample:
    """One access unit of audio; `dts` and `duration` in ticks of its track's timescale."""

    data: bytes
    dts: int
    duration: int


@dataclass(frozen=True, slots=True)
class TrackRun:
    """The samples of one track in a fragment.

    Attributes:
        dts: decode time of the first sample, in ticks of the track (`tfdt`, baseMediaDecodeTime).
        flags: `tr_flags`: which fields each sample has in `rows`.
        count: number of samples (`trun`, sample_count).
        rows: the fields of all samples, 32 bits each, sample by sample.
        media: the samples' bytes, in any number of pieces.
        size: total bytes of `media`.
    """

    track_id: int
    dts: int
    flags: int
    count: int
    rows: list[int]
    media: Sequence[Data]
    size: int


def video_run(
    track_id: int, dts: int, samples: Sequence[tuple[int, int, bool, int]], media: Sequence[Data]
) -> TrackRun:
    """A run of video samples; each is (duration, size, is_keyframe, composition offset), in ticks and bytes."""
    has_offsets = False
    size = 0
    for _, length, _, offset in samples:
        size += length
        has_offsets = has_offsets or offset != 0
    rows: list[int] = []
    for duration, length, is_keyframe, offset in samples:
        rows.append(duration)
        rows.append(length)
        rows.append(_SYNC if is_keyframe else _NOT_SYNC)
        if has_offsets:
            rows.append(offset & 0xFFFFFFFF)
    flags = _DURATION_SIZE | _SAMPLE_FLAGS | (_COMPOSITION_OFFSET if has_offsets else 0)
    return TrackRun(track_id, dts, flags, len(samples), rows, media, size)


def audio_run(track_id: int, units: Sequence[AudioSample]) -> TrackRun:
    """A run of at least one audio sample. All are sync samples, as `tfhd`'s default_sample_flags state."""
    rows: list[int] = []
    size = 0
    for unit in units:
        rows.append(unit.duration)
        rows.append(len(unit.data))
        size += len(unit.data)
    media = [unit.data for unit in units]
    return TrackRun(track_id, units[0].dts, _DURATION_SIZE, len(units), rows, media, size)


def fragment_header(number: int, runs: Sequence[TrackRun]) -> bytes:
    """The `moof` with sequence_number `number`, and the header of the `mdat` that contains the runs' media in order.

    Raises:
        ValueError: a value does not fit into its field.
    """
    size = sum([run.size for run in runs])
    offset = 8 + 16 + sum([_TRAF_BYTES + 4 * len(run.rows) for run in runs]) + 8
    try:
        boxes = [_box(b"mfhd", struct.pack(">II", 0, number))]  # version and flags, sequence_number: section 8.8.5
        for run in runs:
            boxes.append(_traf(run, offset))
            offset += run.size
        return b"".join((_box(b"moof", *boxes), struct.pack(">I", 8 + size), b"mdat"))
    except struct.error as error:
        raise ValueError(f"a value does not fit into its field of the moof: {error}") from error


def _traf(run: TrackRun, data_offset: int) -> bytes:
    header = struct.pack(">III", _DEFAULT_BASE_IS_MOOF | _DEFAULT_FLAGS, run.track_id, _SYNC)
    version = 1 if run.flags & _COMPOSITION_OFFSET else 0  # version 1: signed composition offsets (section 8.8.8)
    head = struct.pack(">IIi", version << 24 | _DATA_OFFSET | run.flags, run.count, data_offset)
    return _box(
        b"traf",
        _box(b"tfhd", header),
        _box(b"tfdt", struct.pack(">IQ", 1 << 24, run.dts)),
        _box(b"trun", head, struct.pack(f">{len(run.rows)}I", *run.rows)),
    )


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return (len(body) + 8).to_bytes(4, "big") + kind + body
