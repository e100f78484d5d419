"""Parameters of a video stream: codec, size, frame rate, reorder depth; and the limits of each."""

from dataclasses import dataclass

from districam_ingest.codec.nal import BitstreamError, Codec

MAX_SIDE_PX = 16_384
MAX_AREA_PX = 36 << 20
"""Pixels of a picture. Levels 6 to 6.2 (H.264 table A-1, H.265 table A.8) allow 35,651,584; 8K has 33 million."""
MIN_FPS, MAX_FPS = 0.1, 300.0
MAX_REORDER_DEPTH = 16  # max_num_reorder_frames is at most MaxDpbFrames, 16 (H.264 section A.3.1)
_CROP_UNITS = ((1, 1), (2, 2), (2, 1), (1, 1))  # SubWidthC, SubHeightC (H.264 table 6-1)


def check_chroma_format(chroma_format_idc: int) -> int:
    """Returns `chroma_format_idc`.

    Raises:
        BitstreamError: it is over 3 (H.264 section 7.4.2.1.1, H.265 section 7.4.3.2.1).
    """
    if chroma_format_idc > 3:
        raise BitstreamError(f"chroma_format_idc {chroma_format_idc} exceeds 3")
    return chroma_format_idc


def compute_bit_depth(minus_8: int) -> int:
    """Bits per sample, from bit_depth_luma_minus8 or bit_depth_chroma_minus8.

    Raises:
        BitstreamError: over 15 bits.
    """
    if minus_8 > 7:  # the fields of avcC and hvcC have three bits
        raise BitstreamError(f"bit depth {minus_8 + 8} exceeds 15")
    return minus_8 + 8


def compute_fps(pictures: int, seconds: int) -> float | None:
    """Pictures per second; None outside `MIN_FPS` to `MAX_FPS`: VUI timing is often wrong and would skew times."""
    fps = pictures / seconds if seconds else 0.0
    return fps if MIN_FPS <= fps <= MAX_FPS else None


def compute_cropped_size(width: int, height: int, chroma: int, edges: tuple[int, int, int, int]) -> tuple[int, int]:
    """Width and height after cropping by `edges` (left, right, top, bottom, in units of chroma samples).

    Raises:
        BitstreamError: nothing is left, or it exceeds `MAX_SIDE_PX` or `MAX_AREA_PX`.
    """
    unit_width, unit_height = _CROP_UNITS[chroma]
    width -= unit_width * (edges[0] + edges[1])
    height -= unit_height * (edges[2] + edges[3])
    fits = 0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and width * height <= MAX_AREA_PX
    if not fits:
        raise BitstreamError(f"picture size {width}x{height} is out of range")
    return width, height


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoParameters:
    """Video parameters read from the parameter sets, checked against this module's limits.

    Attributes:
        codecs: the RFC 6381 codec string.
        fps: nominal pictures per second; None if the stream does not give it.
        reorder_depth: most pictures that precede another in decoding and follow it in output, if given.
        has_fields: whether two coded pictures may be the fields of one frame, with one timestamp.
    """

    codec: Codec
    codecs: str
    width: int
    height: int
    fps: float | None
    reorder_depth: int | None
    has_fields: bool = False
