"""H.265 sequence parameter sets (ITU-T H.265 section 7.3.2.2) and hvcC (ISO/IEC 14496-15 section 8.3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from districam_ingest.core.nal import Bits, BitstreamError, counted, unescaped
from districam_ingest.core.shape import REORDER_MOST, VideoShape, chroma_of, cropped, depth_of

_VPS, _SPS, _PPS = 32, 33, 34


@dataclass(frozen=True, slots=True)
class _Sps:
    profile_tier_level: bytes
    layers: int
    nested: int
    chroma: int
    width: int
    height: int
    luma_bits: int
    chroma_bits: int
    reorder: int


def _kind(nal: bytes) -> int:
    return (nal[0] >> 1) & 63


def _parsed(sets: Sequence[bytes]) -> _Sps:
    sps = next((nal for nal in sets if _kind(nal) == _SPS), None)
    if sps is None or len(sps) < 16:
        raise BitstreamError("no H.265 sequence parameter set")
    body = unescaped(sps)[2:]
    sub_layers = (body[0] >> 1) & 7
    bits = Bits(body[13:])
    _skip_sub_layers(bits, sub_layers)
    bits.ue()
    chroma = chroma_of(bits.ue())
    separate = chroma == 3 and bits.flag()
    width, height = _size(bits, 0 if separate else chroma)
    luma, chroma_bits = depth_of(bits.ue()), depth_of(bits.ue())
    bits.ue()
    reorder = 0
    for _ in range(sub_layers + 1 if bits.flag() else 1):
        bits.ue()
        reorder = bits.ue()
        bits.ue()
    if reorder > REORDER_MOST:
        raise BitstreamError(f"a reorder depth of {reorder}")
    return _Sps(body[1:13], sub_layers + 1, body[0] & 1, chroma, width, height, luma, chroma_bits, reorder)


def _skip_sub_layers(bits: Bits, count: int) -> None:
    present = [(bits.flag(), bits.flag()) for _ in range(count)]
    if count:
        bits.u(2 * (8 - count))
    for profile, level in present:
        bits.u((88 if profile else 0) + (8 if level else 0))


def _size(bits: Bits, chroma: int) -> tuple[int, int]:
    width, height = bits.ue(), bits.ue()
    edges = (bits.ue(), bits.ue(), bits.ue(), bits.ue()) if bits.flag() else (0, 0, 0, 0)
    return cropped(width, height, chroma, edges)


def shape(sets: Sequence[bytes]) -> VideoShape:
    """What the first SPS among `sets` says; the codec string as ISO/IEC 14496-15 annex E writes it.

    Raises:
        BitstreamError: no SPS, or not readable.
    """
    sps = _parsed(sets)
    ptl = sps.profile_tier_level
    compatibility = int(f"{int.from_bytes(ptl[1:5], 'big'):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in ptl[5:11].rstrip(b"\0"))
    space = ["", "A", "B", "C"][ptl[0] >> 6]
    tier = "LH"[ptl[0] >> 5 & 1]
    return VideoShape(
        codec="hevc",
        codecs=f"hvc1.{space}{ptl[0] & 31}.{compatibility:X}.{tier}{ptl[11]}{constraints}",
        width=sps.width,
        height=sps.height,
        fps=None,
        reorder=sps.reorder,
    )


def hvcc(sets: Sequence[bytes]) -> bytes:
    """The decoder configuration of `sets` (VPS, SPS and PPS alone: encoders' SEI would bloat every record).

    Raises:
        BitstreamError: a set is missing or malformed.
    """
    sps = _parsed(sets)
    by_kind = [(kind, [nal for nal in sets if _kind(nal) == kind]) for kind in (_VPS, _SPS, _PPS)]
    if not all(nals for _, nals in by_kind):
        raise BitstreamError("VPS, SPS or PPS is missing")
    head = bytes([1]) + sps.profile_tier_level + b"\xf0\x00\xfc"
    head += bytes([0xFC | sps.chroma, 0xF8 | (sps.luma_bits - 8), 0xF8 | (sps.chroma_bits - 8)])
    head += b"\0\0" + bytes([sps.layers << 3 | sps.nested << 2 | 3, 3])
    arrays = [bytes([0x80 | kind]) + counted(nals, size=2, most=255) for kind, nals in by_kind]
    return head + b"".join(arrays)
