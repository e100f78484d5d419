"""What a video stream is: codec, size, rate, reorder depth."""

from dataclasses import dataclass

from districam_ingest.codec.nal import BitstreamError, Codec

MAX_SIDE_PX = 16_384
MAX_AREA_PX = 36 << 20
"""Pixels of a picture. 8K, which has 33 million, is the largest of H.264's and H.265's levels (6.2)."""
MIN_FPS, MAX_FPS = 0.1, 300.0
MAX_REORDER_DEPTH = 16
_CROP_UNITS = ((1, 1), (2, 2), (2, 1), (1, 1))  # SubWidthC, SubHeightC (H.264 table 6-1)


def check_chroma_format(chroma_format_idc: int) -> int:
    """The chroma format as read.

    Raises:
        BitstreamError: there is no such format.
    """
    if chroma_format_idc > 3:
        raise BitstreamError(f"a chroma format of {chroma_format_idc}")
    return chroma_format_idc


def compute_bit_depth(minus_8: int) -> int:
    """Bits a sample, as read from its distance to 8.

    Raises:
        BitstreamError: more than any profile has.
    """
    if minus_8 > 7:  # three bits in avcC and hvcC
        raise BitstreamError(f"{minus_8 + 8} bits a sample")
    return minus_8 + 8


def compute_fps(pictures: int, seconds: int) -> float | None:
    """Pictures a second; None for what no camera does: VUIs are often wrong, and a wrong rate spoils the clock."""
    fps = pictures / seconds if seconds else 0.0
    return fps if MIN_FPS <= fps <= MAX_FPS else None


def compute_cropped_size(width: int, height: int, chroma: int, edges: tuple[int, int, int, int]) -> tuple[int, int]:
    """The picture's size without what its edges (left, right, top, bottom, in chroma units) cut off.

    Raises:
        BitstreamError: nothing is left, or more than a camera can have.
    """
    unit_width, unit_height = _CROP_UNITS[chroma]
    width -= unit_width * (edges[0] + edges[1])
    height -= unit_height * (edges[2] + edges[3])
    fits = 0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and width * height <= MAX_AREA_PX
    if not fits:
        raise BitstreamError(f"a picture of {width} by {height}")
    return width, height


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoParameters:
    """What the parameter sets say, inside what a video can be.

    Attributes:
        codecs: RFC 6381.
        fps: nominal pictures a second, if the stream says so.
        reorder_depth: pictures that may be shown later than decoded; None if the stream does not say.
        has_fields: whether two coded pictures may be the fields of one frame, with one timestamp.
    """

    codec: Codec
    codecs: str
    width: int
    height: int
    fps: float | None
    reorder_depth: int | None
    has_fields: bool = False
