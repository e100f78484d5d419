"""Segment objects as the recorder stores them, with pictures encoded here: init, then `moof mdat` per second."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (PyAV's stubs are partial.)
import io
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np

from districam_common.contract.names import flags_of, segment_object_key
from districam_common.contract.segment_array import IndexEntry

FPS = 25
_TICKS = 90_000 // FPS
_OPTIONS = {
    "movflags": "empty_moov+default_base_moof+skip_trailer+frag_custom+frag_discont",
    "avoid_negative_ts": "disabled",
    "use_editlist": "0",
}


@dataclass(frozen=True, slots=True)
class SegmentObject:
    """An object, its key, and its index entry."""

    key: str
    entry: IndexEntry
    content: bytes


class _Sink:
    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def segments(
    camera_id: str, epoch: str, start_us: int, *, first_second: int = 0, seconds: int = 2, count: int = 1
) -> list[SegmentObject]:
    """`count` adjacent segments of `seconds` fragments (one second, one GOP, one `seq` each).

    The epoch starts at `start_us`; the first segment's first `seq` is `first_second`.
    """
    return [
        _segment(camera_id, epoch, start_us, first, seconds)
        for first in range(first_second, first_second + count * seconds, seconds)
    ]


def _segment(camera_id: str, epoch: str, epoch_us: int, first: int, seconds: int) -> SegmentObject:
    fragments = [_fragment(epoch_us, seq) for seq in range(first, first + seconds)]
    inits = [data[: data.index(b"moof") - 4] for data in fragments]
    content = inits[0] + b"".join(data[len(inits[0]) :] for data in fragments)
    entry = IndexEntry(
        epoch=epoch,
        first_seq=first,
        last_seq=first + seconds - 1,
        start_us=epoch_us + first * 1_000_000,
        end_us=epoch_us + (first + seconds) * 1_000_000,
        bytes=len(content),
        init_bytes=len(inits[0]),
        flags=flags_of(starts_with_keyframe=True, lossy=False),
    )
    return SegmentObject(segment_object_key(camera_id, entry), entry, content)


@cache
def _gop() -> tuple[bytes, list[tuple[bytes, bool]]]:
    """Extradata and access units of one second of moving grey, 160×120 H.264."""
    sink = io.BytesIO()
    with av.open(sink, mode="w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"x264-params": "bframes=0:keyint=25:scenecut=0"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(FPS):
            picture = np.full((180, 160), (number * 9) % 255, dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        out.mux(stream.encode())
    sink.seek(0)
    with av.open(sink, mode="r") as read:
        video = read.streams.video[0]
        units = [(bytes(p), p.is_keyframe) for p in read.demux(video) if p.size]
        return bytes(video.codec_context.extradata or b""), units


def _fragment(epoch_us: int, seq: int) -> bytes:
    """`ftyp moov moof mdat`; `tfdt` counts 90 kHz ticks since 1970."""
    extradata, units = _gop()
    sink = _Sink()
    stub = av.open(io.BytesIO(), "w", format="mp4")
    out = av.open(sink, "w", format="mp4", buffer_size=1 << 20, options=_OPTIONS)
    stream = out.add_stream_from_template(stub.add_stream("libx264"), opaque=False)
    context = stream.codec_context
    context.extradata, context.width, context.height = extradata, 160, 120
    stream.time_base = Fraction(1, 90_000)
    base = epoch_us * 9 // 100 + seq * 90_000
    for number, (data, is_keyframe) in enumerate(units):
        packet = av.Packet(data)
        packet.stream, packet.time_base = stream, stream.time_base
        packet.pts = packet.dts = base + number * _TICKS
        packet.duration, packet.is_keyframe = _TICKS, is_keyframe
        out.mux_one(packet)
    out.close()
    return bytes(sink.content)
