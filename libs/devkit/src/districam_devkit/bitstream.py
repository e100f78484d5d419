"""Parses NAL units, the running-number SEI and the sample tables of stored segments.

Pure. It parses stored bytes without decoding them and shares no code with the services, so that it can check them.
Sources: H.264 and H.265 (Annex B, 7.3.1, 7.3.2.3, D.1.7), ISO/IEC 14496-12 (boxes), 14496-15 (avcC, hvcC).
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

Codec = Literal["h264", "hevc"]

RUNNING_NUMBER_UUID = UUID("d157ca3e-0001-4000-8000-c0ffee5e1f1e")
_SEI_USER_DATA_UNREGISTERED = 5  # payloadType (H.264 and H.265, D.1)
_NUMBER_AND_TIME = struct.Struct(">QQ")
_NEEDS_ESCAPE = re.compile(rb"\0\0(?=[\0-\3])")
_SAMPLE_IS_NON_SYNC = 0x10000  # sample_is_non_sync_sample in sample_flags (14496-12, 8.8.3.1)
_CONFIGURATIONS: Final[tuple[tuple[Codec, bytes], ...]] = (("h264", b"avcC"), ("hevc", b"hvcC"))


@dataclass(frozen=True, slots=True)
class RunningNumber:
    """What the simulator writes into an access unit; `sent_us` is µs UTC."""

    number: int
    sent_us: int
    camera_id: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a fragmented MP4: where its bytes are, and its times in track ticks."""

    offset: int
    size: int
    dts: int
    duration: int
    composition_offset: int
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """One access unit of a stored segment; `dts` in ticks of the video track."""

    number: int
    sent_us: int
    camera_id: str
    dts: int
    is_keyframe: bool


# --- NAL units -------------------------------------------------------------------------------------------


def split_annexb(data: bytes) -> list[bytes]:
    """Splits a byte stream at start codes (H.264 Annex B); drops trailing_zero_8bits."""
    nals: list[bytes] = []
    start = data.find(b"\0\0\1")
    while start >= 0:
        following = data.find(b"\0\0\1", start + 3)
        nals.append(data[start + 3 : following if following >= 0 else len(data)].rstrip(b"\0"))
        start = following
    return nals


def split_length_prefixed(data: bytes) -> list[bytes]:
    """Splits an MP4 sample with four-byte lengths into NAL units. Raises ValueError if a length overruns the sample."""
    nals: list[bytes] = []
    position = 0
    while position + 4 <= len(data):
        end = position + 4 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            raise ValueError("a NAL unit overruns its sample")
        nals.append(data[position + 4 : end])
        position = end
    return nals


def join_length_prefixed(nals: Sequence[bytes]) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def join_annexb(nals: Sequence[bytes]) -> bytes:
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


def nal_type(codec: Codec, nal: bytes) -> int:
    return nal[0] & 0x1F if codec == "h264" else (nal[0] >> 1) & 0x3F  # nal_unit_type (7.3.1)


def is_slice(codec: Codec, nal: bytes) -> bool:
    kind = nal_type(codec, nal)
    return 1 <= kind <= 5 if codec == "h264" else kind < 32  # VCL NAL units (tables 7-1)


def is_parameter_set(codec: Codec, nal: bytes) -> bool:
    return nal_type(codec, nal) in ((7, 8) if codec == "h264" else (32, 33, 34))  # SPS, PPS; VPS, SPS, PPS


def escape(rbsp: bytes) -> bytes:
    """RBSP to NAL unit payload: inserts emulation_prevention_three_byte (7.4.1). Assumes a final stop bit."""
    return _NEEDS_ESCAPE.sub(b"\0\0\3", rbsp)


def unescape(payload: bytes) -> bytes:
    return payload.replace(b"\0\0\3", b"\0\0")


# --- the running number ----------------------------------------------------------------------------------


def running_number_sei(codec: Codec, running: RunningNumber) -> bytes:
    """Returns the SEI NAL unit (`user_data_unregistered`) that carries a running number."""
    body = RUNNING_NUMBER_UUID.bytes + _NUMBER_AND_TIME.pack(running.number, running.sent_us)
    body += running.camera_id.encode("ascii")
    size = b"\xff" * (len(body) // 255) + bytes([len(body) % 255])
    # nal_unit_type: H.264 6; HEVC PREFIX_SEI_NUT 39 with nuh_temporal_id_plus1 = 1
    header = b"\x06" if codec == "h264" else b"\x4e\x01"
    # payloadType, payloadSize, payload, rbsp_trailing_bits (7.3.2.3)
    return header + escape(bytes([_SEI_USER_DATA_UNREGISTERED]) + size + body + b"\x80")


def first_slice(codec: Codec, nals: Sequence[bytes]) -> int:
    """Returns the index of the first slice, or the number of NAL units if there is none."""
    return next((index for index, nal in enumerate(nals) if nal and is_slice(codec, nal)), len(nals))


def insert_sei(codec: Codec, nals: Sequence[bytes], sei: bytes) -> list[bytes]:
    """Inserts the SEI before the access unit's first slice; returns an access unit without a slice unchanged."""
    index = first_slice(codec, nals)
    return [*nals[:index], sei, *nals[index:]] if index < len(nals) else list(nals)


def parse_running_number(codec: Codec, nals: Sequence[bytes]) -> RunningNumber | None:
    """Returns the running number from an SEI before the first slice, or None."""
    for nal in nals[: first_slice(codec, nals)]:
        if nal and nal_type(codec, nal) == (6 if codec == "h264" else 39):
            for kind, payload in _sei_messages(unescape(nal[1 if codec == "h264" else 2 :])):
                if kind == _SEI_USER_DATA_UNREGISTERED and payload[:16] == RUNNING_NUMBER_UUID.bytes:
                    return _decode_running_number(payload[16:])
    return None


def _decode_running_number(payload: bytes) -> RunningNumber | None:
    if len(payload) < _NUMBER_AND_TIME.size:
        return None
    number, sent_us = _NUMBER_AND_TIME.unpack_from(payload)
    return RunningNumber(number, sent_us, payload[_NUMBER_AND_TIME.size :].decode("ascii", "replace"))


def _sei_messages(rbsp: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 2 < len(rbsp):
        kind, position = _sei_varint(rbsp, position)  # payloadType
        size, position = _sei_varint(rbsp, position)  # payloadSize
        yield kind, rbsp[position : position + size]
        position += size


def _sei_varint(rbsp: bytes, position: int) -> tuple[int, int]:
    value = 0
    while position < len(rbsp) and rbsp[position] == 0xFF:  # ff_byte
        value += 255
        position += 1
    last = rbsp[position] if position < len(rbsp) else 0
    return value + last, position + 1


# --- parameter sets --------------------------------------------------------------------------------------


def avcc_parameter_sets(record: bytes) -> list[bytes]:
    """Returns SPS and PPS of an AVCDecoderConfigurationRecord (14496-15, 5.3.3.1), in its order."""
    sets, position = _parse_parameter_sets(record, 6, record[5] & 0x1F)  # numOfSequenceParameterSets
    more, _ = _parse_parameter_sets(record, position + 1, record[position])  # numOfPictureParameterSets
    return sets + more


def hvcc_parameter_sets(record: bytes) -> list[bytes]:
    """Returns VPS, SPS and PPS of an HEVCDecoderConfigurationRecord (14496-15, 8.3.3.1); skips other arrays (SEI)."""
    kept: list[bytes] = []
    position = 23
    for _ in range(record[22]):  # numOfArrays
        kind = record[position] & 0x3F  # NAL_unit_type
        count = int.from_bytes(record[position + 1 : position + 3], "big")  # numNalus
        sets, position = _parse_parameter_sets(record, position + 3, count)
        kept += sets if kind in (32, 33, 34) else []
    return kept


def parameter_sets(codec: Codec, record: bytes) -> list[bytes]:
    return avcc_parameter_sets(record) if codec == "h264" else hvcc_parameter_sets(record)


def _parse_parameter_sets(record: bytes, position: int, count: int) -> tuple[list[bytes], int]:
    sets: list[bytes] = []
    for _ in range(count):
        end = position + 2 + int.from_bytes(record[position : position + 2], "big")  # length of the set
        sets.append(record[position + 2 : end])
        position = end
    return sets, position


# --- fragmented MP4 --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    content: int
    end: int


@dataclass(frozen=True, slots=True)
class _Track:
    track_id: int
    codec: Codec
    defaults: tuple[int, int, int]  # default_sample_duration, default_sample_size, default_sample_flags (trex)


def parse_stored_pictures(segment: bytes) -> list[StoredPicture]:
    """Returns a stored segment's access units that have a running number, in stored order.

    Raises:
        ValueError: the bytes are not such a segment.
    """
    pictures: list[StoredPicture] = []
    codec = _video_track(segment).codec
    for sample in samples(segment):
        nals = split_length_prefixed(segment[sample.offset : sample.offset + sample.size])
        running = parse_running_number(codec, nals)
        if running is not None:
            pictures.append(
                StoredPicture(running.number, running.sent_us, running.camera_id, sample.dts, sample.is_keyframe)
            )
    return pictures


def samples(segment: bytes) -> list[Sample]:
    """Returns the video track's samples from `moof` and `trun`. Raises ValueError if there is no video track."""
    track = _video_track(segment)
    found: list[Sample] = []
    for moof in _boxes(segment, 0, len(segment)):
        if moof.kind == b"moof":
            for traf in _children(segment, moof, b"traf"):
                found += _traf_samples(segment, moof, traf, track)
    return found


def _traf_samples(data: bytes, moof: _Box, traf: _Box, track: _Track) -> Iterator[Sample]:
    tfhd = _only(data, traf, b"tfhd")
    base, defaults = moof.start, track.defaults
    dts = 0
    if struct.unpack_from(">I", data, tfhd.content + 4)[0] != track.track_id:  # track_ID
        return
    base, defaults = _tfhd(data, tfhd, base, defaults)
    for box in _boxes(data, traf.content, traf.end):
        if box.kind == b"tfdt":
            # baseMediaDecodeTime: 64 bits in version 1
            (dts,) = struct.unpack_from(">Q" if data[box.content] else ">I", data, box.content + 4)
        elif box.kind == b"trun":
            for sample in _trun(data, box, base, dts, defaults):
                yield sample
                dts = sample.dts + sample.duration


def _tfhd(data: bytes, box: _Box, base: int, defaults: tuple[int, int, int]) -> tuple[int, tuple[int, int, int]]:
    flags = int.from_bytes(data[box.content + 1 : box.content + 4], "big")
    position = box.content + 8
    if flags & 0x1:  # base_data_offset
        (base,) = struct.unpack_from(">Q", data, position)
        position += 8
    position += 4 if flags & 0x2 else 0  # sample_description_index
    values = list(defaults)
    for index, flag in enumerate((0x8, 0x10, 0x20)):  # default_sample_duration, _size, _flags
        if flags & flag:
            (values[index],) = struct.unpack_from(">I", data, position)
            position += 4
    return base, (values[0], values[1], values[2])


def _trun(data: bytes, box: _Box, base: int, dts: int, defaults: tuple[int, int, int]) -> Iterator[Sample]:
    flags = int.from_bytes(data[box.content + 1 : box.content + 4], "big")
    (count,) = struct.unpack_from(">I", data, box.content + 4)  # sample_count
    position, offset = box.content + 8, base
    first_flags = None
    if flags & 0x1:  # data_offset
        offset = base + int(struct.unpack_from(">i", data, position)[0])
        position += 4
    if flags & 0x4:  # first_sample_flags
        (first_flags,) = struct.unpack_from(">I", data, position)
        position += 4
    # sample_duration, sample_size, sample_flags, sample_composition_time_offset
    present = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    row = struct.Struct(">" + "".join("i" if bit == 0x800 else "I" for bit in present))
    for index in range(count):
        values = dict(zip(present, row.unpack_from(data, position), strict=True))
        position += row.size
        duration, size = values.get(0x100, defaults[0]), values.get(0x200, defaults[1])
        default_flags = first_flags if index == 0 and first_flags is not None else defaults[2]
        is_keyframe = not values.get(0x400, default_flags) & _SAMPLE_IS_NON_SYNC
        yield Sample(offset, size, dts, duration, values.get(0x800, 0), is_keyframe)
        offset += size
        dts += duration


def _video_track(segment: bytes) -> _Track:
    moov = next((box for box in _boxes(segment, 0, len(segment)) if box.kind == b"moov"), None)
    if moov is None:
        raise ValueError("no moov box")
    for trak in _children(segment, moov, b"trak"):
        tkhd = _only(segment, trak, b"tkhd")
        track_id = int.from_bytes(segment[tkhd.content + 12 :][:4], "big")
        if segment[tkhd.content]:  # version 1: 64-bit creation_time and modification_time before track_ID
            track_id = int.from_bytes(segment[tkhd.content + 20 :][:4], "big")
        for codec, name in _CONFIGURATIONS:
            if segment.find(name, trak.content, trak.end) > 0:
                return _Track(track_id, codec, _trex(segment, moov, track_id))
    raise ValueError("no H.264 or HEVC track")


def _trex(data: bytes, moov: _Box, track_id: int) -> tuple[int, int, int]:
    for trex in _children(data, _only(data, moov, b"mvex"), b"trex"):
        # track_ID, default_sample_description_index, then the defaults (14496-12, 8.8.3)
        found, _, duration, size, flags = struct.unpack_from(">5I", data, trex.content + 4)
        if found == track_id:
            return duration, size, flags
    return 0, 0, 0


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:  # largesize (14496-12, 4.2)
            (size,) = struct.unpack_from(">Q", data, start + 8)
            content += 8
        if size < content - start or start + size > end:
            raise ValueError(f"box {kind!r} at {start} overruns")
        yield _Box(kind, start, content, start + size)
        start += size


def _children(data: bytes, parent: _Box, kind: bytes) -> Iterator[_Box]:
    return (box for box in _boxes(data, parent.content, parent.end) if box.kind == kind)


def _only(data: bytes, parent: _Box, kind: bytes) -> _Box:
    box = next(_children(data, parent, kind), None)
    if box is None:
        raise ValueError(f"no {kind!r} box")
    return box
