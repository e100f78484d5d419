# The stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Sample streams: parameter sets of real encoders, and streams generated here."""

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.logging
import numpy as np

from districam_ingest.codec.nal import Codec, is_parameter_set, split_annexb
from districam_ingest.units import AccessUnit, Picture

if TYPE_CHECKING:
    from av.video.stream import VideoStream

BASELINE = (bytes.fromhex("6742c01eda0280bfe584000003000400000300c83c58ba80"), bytes.fromhex("68ce0fc8"))
FULL_HD = (bytes.fromhex("6742c028da01e0089f961000000300100000030320f1832a"), bytes.fromhex("68ce0fc8"))
B_FRAMES = (bytes.fromhex("6764000dacd941519e227840000003004000000c83c50a6580"), bytes.fromhex("68ebe3cb22c0"))
YUV444 = (bytes.fromhex("67f4000c9196405067e361000003000100000300320f142a48"), bytes.fromhex("68ebc3c44844"))
INTERLACED_HRD = (
    bytes.fromhex("6764001eacd940b424d08000000300800000193020007a12000f425261807c50a658"),
    bytes.fromhex("68fba3cb22c0"),
)
HEVC = (
    bytes.fromhex("40010c01ffff01600000030090000003000003003c959409"),
    bytes.fromhex("42010101600000030090000003000003003ca00d080f16595952930b9a020000030002000003003210"),
    bytes.fromhex("4401c073c189"),
)
HEVC_10 = (
    bytes.fromhex("40010c01ffff022000000300900000030000030078959409"),
    bytes.fromhex("420101022000000300900000030000030078a003c0801107cad965654a4c2e6808000003000800000300c840"),
    bytes.fromhex("4401c073c189"),
)

IDR, SLICE = b"\x65\x88\x84\x00\x10", b"\x41\x9a\x24\x66"
IDR_HEVC, SLICE_HEVC = b"\x26\x01\xaf\x08", b"\x02\x01\xd0\x09"
TICKS_25 = 3600


def picture(
    number: int,
    *,
    key: bool = False,
    sets: tuple[bytes, ...] = BASELINE,
    interval: int = TICKS_25,
    pts: int | None = None,
    arrival_us: int | None = None,
    slice_nal: bytes | None = None,
) -> Picture:
    """Picture `number` of a steady 25 fps H.264 camera; keyframes carry the parameter sets."""
    pts = number * interval if pts is None else pts
    nal = slice_nal or (IDR if key else SLICE)
    return Picture(
        nals=(*sets, nal) if key else (nal,),
        pts=pts,
        arrival_us=pts * 1_000_000 // 90_000 if arrival_us is None else arrival_us,
    )


def unit(
    start_us: int, *, key: bool = False, size: int = 100, pts: int | None = None, dts: int | None = None
) -> AccessUnit:
    """An access unit whose decode time corresponds to `start_us`."""
    dts = start_us * 9 // 100 if dts is None else dts
    return AccessUnit(
        parts=(bytes(size),), start_us=start_us, dts=dts, pts=dts if pts is None else pts, is_keyframe=key
    )


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoder's output: pictures in decode order, times in 90 kHz ticks."""

    codec: Codec
    sets: tuple[bytes, ...]
    pictures: tuple[tuple[tuple[bytes, ...], int, int, bool], ...]  # nals, pts, dts, is_keyframe

    def units(self, start_us: int = 1_790_000_000_000_000) -> list[AccessUnit]:
        shift = start_us * 9 // 100
        return [
            AccessUnit(
                parts=tuple(len(nal).to_bytes(4, "big") + nal for nal in nals),
                start_us=start_us + dts * 100 // 9,
                dts=shift + dts,
                pts=shift + pts,
                is_keyframe=key,
            )
            for nals, pts, dts, key in self.pictures
        ]


@functools.cache
def encoded(
    codec: Codec = "h264", *, b_frames: int = 0, pyramid: bool = False, count: int = 60, gop: int = 25
) -> Encoded:
    """A moving pattern of 160 × 96 at 25 fps."""
    av.logging.set_level(av.logging.PANIC)
    words = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:b-adapt=0:open-gop=0"
    words += f":b-pyramid={'normal' if pyramid and codec == 'h264' else int(pyramid)}"
    context = av.CodecContext.create("libx264" if codec == "h264" else "libx265", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 160, 96, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 90_000), Fraction(25)
    context.flags |= 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: the parameter sets are in extradata
    key = "x264-params" if codec == "h264" else "x265-params"
    context.options = {
        "preset": "ultrafast",
        key: words + (":log-level=none:rc-lookahead=20" if codec == "hevc" else ""),
    }
    packets: list[av.Packet[VideoStream]] = []
    for number in range(count):
        image = np.full((144, 160), 16 + number, np.uint8)
        image[:96, : 2 + number % 100] = 200
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts, frame.time_base = number * TICKS_25, Fraction(1, 90_000)
        packets += context.encode(frame)
    packets += context.encode(None)
    sets = tuple(nal for nal in split_annexb(bytes(context.extradata or b"")) if is_parameter_set(codec, nal))
    pictures = tuple(
        (tuple(split_annexb(bytes(packet))), packet.pts or 0, packet.dts or 0, packet.is_keyframe) for packet in packets
    )
    return Encoded(codec, sets, pictures)
