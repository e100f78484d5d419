"""NAL units of H.264 and H.265: splitting, keyframes, parameter sets. No byte of a NAL unit is ever altered."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

Codec = Literal["h264", "hevc"]

_START: Final = b"\0\0\1"
MAX_PARSED_BYTES: Final = 1024
"""Real parameter sets take 30 to 300 bytes, and nothing that is read stands far behind."""


class BitstreamError(ValueError):
    """The bytes are not what the codec's specification allows."""


def split_annexb(data: bytes) -> list[bytes]:
    """NAL units between start codes (H.264 Annex B); a zero byte before a start code belongs to the code."""
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
    """The pieces of an MP4 sample: before each NAL unit four bytes of length (ISO/IEC 14496-15)."""
    parts: list[bytes] = []
    for nal in nals:  # for each picture: a generator would take twice as long
        parts.append(len(nal).to_bytes(4, "big"))
        parts.append(nal)
    return tuple(parts)


def encode_parameter_sets(nals: Sequence[bytes], *, count_bytes: int, max_count: int, flags: int = 0) -> bytes:
    """How many parameter sets, in `count_bytes` bytes, and each behind its length in two: as avcC and hvcC list them.

    Raises:
        BitstreamError: more, or longer ones, than the list can say.
    """
    if len(nals) > max_count or any(len(nal) > 0xFFFF for nal in nals):
        raise BitstreamError("too many or too long parameter sets")
    return (flags | len(nals)).to_bytes(count_bytes, "big") + b"".join(
        part for nal in nals for part in (len(nal).to_bytes(2, "big"), nal)
    )


def remove_emulation_prevention(nal: bytes) -> bytes:
    """The payload without emulation prevention bytes (H.264 section 7.4.1)."""
    return nal.replace(b"\0\0\3", b"\0\0")


def nal_type(codec: Codec, nal: bytes) -> int:
    return nal[0] & 31 if codec == "h264" else (nal[0] >> 1) & 63


def is_slice(codec: Codec, nal: bytes) -> bool:
    kind = nal_type(codec, nal)
    return 1 <= kind <= 5 if codec == "h264" else kind < 32


def is_first_slice(codec: Codec, nal: bytes) -> bool:
    """Whether it is a coded picture's, or field's, first slice: no other holds the first macroblock or block.

    first_mb_in_slice (H.264 section 7.4.3), first_slice_segment_in_pic_flag (H.265 section 7.4.7.1).
    """
    if codec == "h264":
        return nal_type(codec, nal) in {1, 2, 5} and len(nal) > 1 and bool(nal[1] & 0x80)
    return nal_type(codec, nal) < 32 and len(nal) > 2 and bool(nal[2] & 0x80)


def is_access_unit_start(codec: Codec, nal: bytes) -> bool:
    """Whether, behind a picture's slices, it begins the next access unit: parameter sets, delimiters, (prefix) SEI.

    H.264 section 7.4.1.2.3, H.265 section 7.4.2.4.4. Never with the forbidden_zero_bit set.
    """
    kind = nal_type(codec, nal)
    if nal[0] & 0x80:
        return False
    if codec == "h264":
        return 6 <= kind <= 9 or 14 <= kind <= 18
    return 32 <= kind <= 35 or kind == 39 or 41 <= kind <= 44 or 48 <= kind <= 55


def is_corrupt(codec: Codec, nals: Sequence[bytes]) -> bool:
    """Whether there are bytes that are no NAL unit (forbidden_zero_bit, H.264 section 7.4.1), and no slice beside them."""
    valid = [nal for nal in nals if not nal[0] & 0x80]
    return len(valid) < len(nals) and not any(is_slice(codec, nal) for nal in valid)


def is_parameter_set(codec: Codec, nal: bytes) -> bool:
    kind = nal_type(codec, nal)
    return kind in {7, 8} if codec == "h264" else kind in {32, 33, 34}


def parameter_sets(codec: Codec, nals: Sequence[bytes]) -> tuple[bytes, ...]:
    """Parameter sets before the first slice, trailing zero bytes off; empty if the access unit carries none."""
    found: list[bytes] = []
    for nal in nals:
        if is_slice(codec, nal):
            break
        if is_parameter_set(codec, nal):
            found.append(nal.rstrip(b"\0"))
    return tuple(found)


def is_keyframe(codec: Codec, nals: Sequence[bytes]) -> bool:
    """Whether decoding can begin here: IDR, an H.264 recovery point (open GOP), an H.265 IRAP picture (types 16 to 21)."""
    if codec == "hevc":
        return any(16 <= nal_type(codec, nal) <= 21 for nal in nals)
    kinds = [nal[0] & 31 for nal in nals]
    if 5 in kinds or 6 not in kinds:
        return 5 in kinds
    return 1 in kinds and any(_has_recovery_point(nal) for nal, kind in zip(nals, kinds, strict=True) if kind == 6)


def _has_recovery_point(sei: bytes) -> bool:
    """Whether an H.264 SEI NAL unit holds payload type 6 (section D.1.8)."""
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
    value = 0
    while at < len(payload) and payload[at] == 255:
        value, at = value + 255, at + 1
    if at >= len(payload):
        return value, at
    return value + payload[at], at + 1


class BitReader:
    """Reads an RBSP bit by bit (H.264 section 9.1), its first `PARSED_MOST` bytes: hostile sets shall not hold us up.

    Raises:
        BitstreamError: the data end early or a number is malformed.
    """

    def __init__(self, data: bytes) -> None:
        data = data[:MAX_PARSED_BYTES]
        self._value, self._size, self._pos = int.from_bytes(data, "big"), len(data) * 8, 0

    def u(self, count: int) -> int:
        self._pos += count
        if self._pos > self._size:
            raise BitstreamError("the parameters end early")
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
