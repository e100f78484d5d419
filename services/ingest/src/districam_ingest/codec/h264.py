"""H.264 sequence parameter sets (ITU-T H.264 section 7.3.2.1, annex E) and avcC (ISO/IEC 14496-15 section 5.3.3)."""

from collections.abc import Sequence

from districam_ingest.codec.nal import (
    BitReader,
    BitstreamError,
    Codec,
    encode_parameter_sets,
    remove_emulation_prevention,
)
from districam_ingest.codec.video_parameters import (
    MAX_REORDER_DEPTH,
    VideoParameters,
    check_chroma_format,
    compute_bit_depth,
    compute_cropped_size,
    compute_fps,
)

_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_AVCC_EXTENDED = {100, 110, 122, 144, 244}
_EXTENDED_SAR = 255


def parse_video_parameters(parameter_sets: Sequence[bytes]) -> VideoParameters:
    """What the first SPS among `parameter_sets` says.

    Raises:
        BitstreamError: no SPS, or not readable up to its size.
    """
    sps = next((nal for nal in parameter_sets if nal[0] & 31 == 7), None)
    if sps is None or len(sps) < 4:
        raise BitstreamError("no H.264 sequence parameter set")
    bits = BitReader(remove_emulation_prevention(sps)[1:])
    profile, compatibility, level = bits.u(8), bits.u(8), bits.u(8)
    bits.ue()
    chroma, separate_planes = _parse_chroma(bits) if profile in _HIGH_PROFILES else (1, False)
    _skip_picture_order(bits)
    width, height, has_fields = _parse_size(bits, 0 if separate_planes else chroma)
    fps, reorder = _parse_vui(bits)
    if reorder is None:
        reorder = 0 if profile == 66 else None
    return VideoParameters(
        codec="h264",
        codecs=f"avc1.{profile:02x}{compatibility:02x}{level:02x}",
        width=width,
        height=height,
        fps=fps,
        reorder_depth=reorder,
        has_fields=has_fields,
    )


def may_have_fields(codec: Codec, parameter_sets: Sequence[bytes]) -> bool:
    """Whether a coded picture may be one field of a frame; also True of H.264 without a readable SPS."""
    try:
        return codec == "h264" and parse_video_parameters(parameter_sets).has_fields
    except BitstreamError:
        return True


def _parse_chroma(bits: BitReader) -> tuple[int, bool]:
    chroma = check_chroma_format(bits.ue())
    separate = chroma == 3 and bits.flag()
    bits.ue()
    bits.ue()
    bits.u(1)
    if bits.flag():
        for index in range(8 if chroma != 3 else 12):
            if bits.flag():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma, separate


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _skip_picture_order(bits: BitReader) -> None:
    bits.ue()
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()
    bits.u(1)


def _parse_size(bits: BitReader, chroma: int) -> tuple[int, int, bool]:
    width = (bits.ue() + 1) * 16
    rows = bits.ue() + 1
    frames_only = bits.u(1)
    height = rows * 16 * (2 - frames_only)
    if not frames_only:
        bits.u(1)
    bits.u(1)
    fields = 2 - frames_only
    edges = (0, 0, 0, 0)
    if bits.flag():
        edges = (bits.ue(), bits.ue(), bits.ue() * fields, bits.ue() * fields)
    return *compute_cropped_size(width, height, chroma, edges), not frames_only


def _parse_vui(bits: BitReader) -> tuple[float | None, int | None]:
    """Frame rate and reorder depth out of the VUI. Cameras write broken ones: what can't be read is left out."""
    fps: float | None = None
    try:
        if not bits.flag():
            return None, None
        _skip_to_timing(bits)
        if bits.flag():
            tick, scale = bits.u(32), bits.u(32)
            fps = compute_fps(scale, 2 * tick)
            bits.u(1)
        return fps, _parse_reorder_depth(bits)
    except BitstreamError:
        return fps, None


def _skip_to_timing(bits: BitReader) -> None:
    if bits.flag() and bits.u(8) == _EXTENDED_SAR:
        bits.u(32)
    if bits.flag():
        bits.u(1)
    if bits.flag():
        bits.u(4)
        if bits.flag():
            bits.u(24)
    if bits.flag():
        bits.ue()
        bits.ue()


def _parse_reorder_depth(bits: BitReader) -> int | None:
    has_hrd = [_skip_hrd(bits) if bits.flag() else False for _ in range(2)]
    if any(has_hrd):
        bits.u(1)
    bits.u(1)
    if not bits.flag():
        return None
    bits.u(1)
    for _ in range(4):
        bits.ue()
    reorder = bits.ue()
    return reorder if reorder <= MAX_REORDER_DEPTH else None


def _skip_hrd(bits: BitReader) -> bool:
    count = bits.ue() + 1
    bits.u(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.u(1)
    bits.u(20)
    return True


def encode_avcc(parameter_sets: Sequence[bytes]) -> bytes:
    """The decoder configuration of `parameter_sets` (SPS and PPS), for the init.

    Raises:
        BitstreamError: a set is missing or malformed.
    """
    sps = [nal for nal in parameter_sets if nal[0] & 31 == 7]
    pps = [nal for nal in parameter_sets if nal[0] & 31 == 8]
    if not sps or not pps or len(sps[0]) < 4:
        raise BitstreamError("SPS or PPS is missing")
    head = bytes([1, sps[0][1], sps[0][2], sps[0][3], 0xFF])
    body = (
        head
        + encode_parameter_sets(sps, count_bytes=1, max_count=31, flags=0xE0)
        + encode_parameter_sets(pps, count_bytes=1, max_count=255)
    )
    if sps[0][1] not in _AVCC_EXTENDED:
        return body
    bits = BitReader(remove_emulation_prevention(sps[0])[4:])
    bits.ue()
    chroma = check_chroma_format(bits.ue())
    if chroma == 3:
        bits.u(1)
    luma_bits, chroma_bits = compute_bit_depth(bits.ue()), compute_bit_depth(bits.ue())
    return body + bytes([0xFC | chroma, 0xF8 | (luma_bits - 8), 0xF8 | (chroma_bits - 8), 0])
