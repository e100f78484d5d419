"""NAL units of H.264 and H.265: splitting, types, keyframes, parameter sets. NAL units are never altered."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

Codec = Literal["h264", "hevc"]

_START: Final = b"\0\0\1"
MAX_PARSED_BYTES: Final = 1024
"""Parsed bytes of a parameter set. Real ones have 30 to 300, and the elements that are read come early."""


class BitstreamError(ValueError):
    """The bytes violate the codec's specification, or hold a value that is not supported."""


def split_annexb(data: bytes) -> list[bytes]:
    """NAL units of a byte stream (Annex B). Zero bytes before a start code belong to no NAL unit."""
    out: list[bytes] = []
    at = data.find(_START)
    while at >= 0:
        following = data.find(_START, at + 3)
        end = len(data) if following < 0 else following
        while end > at + 3 and data[end - 1] == 0 and following >= 0:
            end -= 1
        if end > at + 3:
            out.append(data[at + 3 : end])
        at = following
    return out


def length_prefixed(nals: Iterable[bytes]) -> tuple[bytes, ...]:
    """The parts of an MP4 sample: four bytes of length before each NAL unit (ISO/IEC 14496-15 section 5.3.2)."""
    parts: list[bytes] = []
    for nal in nals:  # runs for each picture; a generator takes twice as long
        parts.append(len(nal).to_bytes(4, "big"))
        parts.append(nal)
    return tuple(parts)


def encode_parameter_sets(nals: Sequence[bytes], *, count_bytes: int, max_count: int, flags: int = 0) -> bytes:
    """Encodes a parameter set list of avcC or hvcC: the count, with `flags`, then lengths in two bytes and sets.

    Raises:
        BitstreamError: more than `max_count` sets, or one over 65,535 bytes.
    """
    if len(nals) > max_count or any(len(nal) > 0xFFFF for nal in nals):
        raise BitstreamError("too many or too long parameter sets")
    return (flags | len(nals)).to_bytes(count_bytes, "big") + b"".join(
        part for nal in nals for part in (len(nal).to_bytes(2, "big"), nal)
    )


def remove_emulation_prevention(nal: bytes) -> bytes:
    """The NAL unit without its emulation_prevention_three_byte (H.264 section 7.3.1, H.265 section 7.3.1.1)."""
    return nal.replace(b"\0\0\3", b"\0\0")


def nal_type(codec: Codec, nal: bytes) -> int:
    """nal_unit_type."""
    return nal[0] & 31 if codec == "h264" else (nal[0] >> 1) & 63


def is_slice(codec: Codec, nal: bytes) -> bool:
    """Whether it is a VCL NAL unit (H.264 and H.265, table 7-1)."""
    kind = nal_type(codec, nal)
    return 1 <= kind <= 5 if codec == "h264" else kind < 32


def is_first_slice(codec: Codec, nal: bytes) -> bool:
    """Whether it is the first slice of a coded picture or field.

    H.264: first_mb_in_slice is 0 (section 7.4.3), whose Exp-Golomb code is a single 1 bit. H.265:
    first_slice_segment_in_pic_flag (section 7.4.7.1).
    """
    if codec == "h264":
        return nal_type(codec, nal) in {1, 2, 5} and len(nal) > 1 and bool(nal[1] & 0x80)
    return nal_type(codec, nal) < 32 and len(nal) > 2 and bool(nal[2] & 0x80)


def is_access_unit_start(codec: Codec, nal: bytes) -> bool:
    """Whether, after slices, it begins the next access unit: parameter sets, delimiters, (prefix) SEI.

    H.264 section 7.4.1.2.3, H.265 section 7.4.2.4.4. False if forbidden_zero_bit is set.
    """
    kind = nal_type(codec, nal)
    if nal[0] & 0x80:
        return False
    if codec == "h264":
        return 6 <= kind <= 9 or 14 <= kind <= 18
    return 32 <= kind <= 35 or kind == 39 or 41 <= kind <= 44 or 48 <= kind <= 55


def is_corrupt(codec: Codec, nals: Sequence[bytes]) -> bool:
    """Whether some NAL unit has forbidden_zero_bit set (H.264 section 7.4.1), and no other one is a slice."""
    valid = [nal for nal in nals if not nal[0] & 0x80]
    return len(valid) < len(nals) and not any(is_slice(codec, nal) for nal in valid)


def is_parameter_set(codec: Codec, nal: bytes) -> bool:
    """Whether it is a VPS (H.265), SPS or PPS."""
    kind = nal_type(codec, nal)
    return kind in {7, 8} if codec == "h264" else kind in {32, 33, 34}


def parameter_sets(codec: Codec, nals: Sequence[bytes]) -> tuple[bytes, ...]:
    """The parameter sets before the access unit's first slice, without trailing zero bytes."""
    found: list[bytes] = []
    for nal in nals:
        if is_slice(codec, nal):
            break
        if is_parameter_set(codec, nal):
            found.append(nal.rstrip(b"\0"))
    return tuple(found)


def is_keyframe(codec: Codec, nals: Sequence[bytes]) -> bool:
    """Whether decoding can begin here: IDR, H.264 recovery point (open GOP), H.265 IRAP (types 16 to 21)."""
    if codec == "hevc":
        return any(16 <= nal_type(codec, nal) <= 21 for nal in nals)
    kinds = [nal[0] & 31 for nal in nals]
    if 5 in kinds or 6 not in kinds:
        return 5 in kinds
    return 1 in kinds and any(_has_recovery_point(nal) for nal, kind in zip(nals, kinds, strict=True) if kind == 6)


def _has_recovery_point(sei: bytes) -> bool:
    """Whether an H.264 SEI NAL unit holds a recovery_point message (payloadType 6, section D.1.8)."""
    payload = remove_emulation_prevention(sei)
    at = 1
    while at + 2 < len(payload):
        kind, at = _parse_sei_number(payload, at)
        size, at = _parse_sei_number(payload, at)
        if kind == 6:
            return True
        at += size
    return False


def _parse_sei_number(payload: bytes, at: int) -> tuple[int, int]:
    """An SEI message's payloadType or payloadSize (section 7.3.2.3.1), and where it ends."""
    value = 0
    while at < len(payload) and payload[at] == 255:
        value, at = value + 255, at + 1
    if at >= len(payload):
        return value, at
    return value + payload[at], at + 1


class BitReader:
    """Reads the syntax elements of an RBSP (H.264 section 7.2; ue(v) and se(v) of section 9.1).

    Only the first `MAX_PARSED_BYTES` are read, to bound the time that a hostile parameter set takes. Each
    method raises BitstreamError if the data end early or a code is malformed.
    """

    def __init__(self, data: bytes) -> None:
        data = data[:MAX_PARSED_BYTES]
        self._value, self._size, self._pos = int.from_bytes(data, "big"), len(data) * 8, 0

    def u(self, count: int) -> int:
        self._pos += count
        if self._pos > self._size:
            raise BitstreamError("the parameter set is truncated, or longer than is read")
        return (self._value >> (self._size - self._pos)) & ((1 << count) - 1)

    def flag(self) -> bool:
        return bool(self.u(1))

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise BitstreamError("an Exp-Golomb code is too long")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)
