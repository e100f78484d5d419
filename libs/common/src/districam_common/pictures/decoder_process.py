"""`python -m districam_common.pictures.decoder_process MEMORY_BYTES`: decodes pictures, one at a time, until standard input ends.

Requests, with their bodies:

- `{"do": "still", "codec", "width", "config"}`: `config` bytes of avcC or hvcC (ISO/IEC 14496-15), then a keyframe with
  length-prefixed NAL units. The response is that picture as JPEG, scaled to `width`.
- `{"do": "picture", "at_us"}`: an MP4 that starts with a keyframe. The response is the picture shown at that time of it
  as JPEG, in its own size up to 12 Mpixel.

Heads of responses: `{"width", "height"}`, for `picture` also `since_us`; or `{"why"}` if there is no picture, with
`"is_spent": true` after an error that may have left an inconsistent state, such as too little memory: the process should
be replaced. At its start the process sends `{"confined": bool}`: whether Landlock restricts it from files and network.
"""
# PyAV types its **kwargs and the packets that an encoder gives as unknown:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import io
import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
from av.error import FFmpegError, InvalidDataError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from districam_common.pictures.annex_b import to_annex_b
from districam_common.pictures.messages import LENGTHS_BYTES, MessageHead, decode_head, decode_lengths, encode_message
from districam_common.pictures.sandbox import enter_sandbox

MAX_PIXELS = 36 << 20
"""Maximum pixels of a picture: 8K (7,680 by 4,320) has 33 million."""
MAX_JPEG_PIXELS = 12 << 20
"""Maximum pixels of a JPEG; larger pictures are scaled. FFmpeg's encoder uses 12 bytes per pixel (3,000 per macroblock)."""
_ANY_TIME_BASE = Fraction(1, 25)
_MICROSECONDS = 1_000_000
_EMPTY_CONFIG_BYTES = 23
"""This many zero bytes are a valid avcC and a valid hvcC without parameter sets."""
_QUALITY = {"still": "5", "picture": "3"}
"""JPEG quality on FFmpeg's quantizer scale: 2 is the best, 31 the worst."""


class _NoPicture(Exception):
    """The request's data contain no picture that can be decoded."""


class Decoder:
    """Handles requests; keeps a decoder per codec, the scaler and a JPEG encoder per size for reuse.

    Decoders are flushed after each picture, so that nothing of one camera's picture appears in another's.
    """

    def __init__(self) -> None:
        self._decoders: dict[str, VideoCodecContext] = {}
        self._scaler = VideoReformatter()
        self._encoders: dict[tuple[int, int, str], VideoCodecContext] = {}

    def handle(self, head: MessageHead, body: bytes) -> list[bytes]:
        """The response to a request, in pieces to be written one after another."""
        try:
            return self._still(head, body) if head["do"] == "still" else self._picture(head, body)
        except _NoPicture as error:
            return encode_message({"why": str(error)})
        except InvalidDataError as error:
            return encode_message({"why": type(error).__name__})
        except (FFmpegError, ValueError, ArithmeticError, MemoryError) as error:
            return encode_message({"why": type(error).__name__, "is_spent": True})

    def _still(self, head: MessageHead, body: bytes) -> list[bytes]:
        try:
            data = to_annex_b(head["codec"], body[: head["config"]], body[head["config"] :])
        except ValueError as error:
            raise _NoPicture(str(error)) from error
        frame = self._keyframe(head["codec"], data)
        width = head["width"]
        height = max(2, round(frame.height * width / frame.width / 2) * 2)
        jpeg = self._jpeg(self._scaler.reformat(frame, width=width, height=height, format="yuvj420p"), "still")
        return encode_message({"width": width, "height": height}, jpeg)

    def _keyframe(self, codec: str, data: bytes) -> VideoFrame:
        decoder = self._decoders.get(codec) or _decoder(codec)
        self._decoders[codec] = decoder
        try:
            for packet in (av.Packet(data), None):
                for frame in decoder.decode(packet):
                    return frame
        finally:
            decoder.flush_buffers()
        raise _NoPicture("no picture could be decoded")

    def _picture(self, head: MessageHead, body: bytes) -> list[bytes]:
        frame, since_us = _decode_frame_at(body, head["at_us"])
        scale = min(1.0, math.sqrt(MAX_JPEG_PIXELS / (frame.width * frame.height)))
        width, height = (
            max(2, round(side * scale / 2) * 2) if scale < 1 else side for side in (frame.width, frame.height)
        )
        jpeg = self._jpeg(self._scaler.reformat(frame, width=width, height=height, format="yuvj420p"), "picture")
        return encode_message({"width": width, "height": height, "since_us": since_us}, jpeg)

    def _jpeg(self, frame: VideoFrame, kind: str) -> bytes:
        size = (frame.width, frame.height, _QUALITY[kind])
        encoder = self._encoders.get(size)
        if encoder is None:
            self._encoders.clear()  # most cameras of a replica have the same size
            encoder = self._encoders[size] = _encoder(*size)
        frame.pts, frame.time_base = None, _ANY_TIME_BASE
        return b"".join(map(bytes, encoder.encode(frame)))


def _decoder(codec: str) -> VideoCodecContext:
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS), "skip_loop_filter": "all", "flags": "low_delay"}
    return context


def _encoder(width: int, height: int, quality: str) -> VideoCodecContext:
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
    context.time_base = _ANY_TIME_BASE
    context.options = {"qmin": quality, "qmax": quality}
    return context


def _decode_frame_at(video: bytes, at_us: int) -> tuple[VideoFrame, int]:
    """The last picture at or before `at_us`, else the first one; and its time in µs."""
    found: tuple[VideoFrame, int] | None = None
    with av.open(io.BytesIO(video), "r", format="mp4") as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise _NoPicture(f"the picture is too large: {context.width} by {context.height} pixels")
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_PIXELS)}
        for frame in container.decode(stream):
            since_us = round((frame.pts or 0) * (stream.time_base or _ANY_TIME_BASE) * _MICROSECONDS)
            if found and since_us > at_us:
                break
            found = frame, since_us
    if found is None:
        raise _NoPicture("no picture could be decoded")
    return found


def _read_requests(source: BinaryIO) -> Iterator[tuple[MessageHead, bytes]]:
    while len(front := source.read(LENGTHS_BYTES)) == LENGTHS_BYTES:
        head_bytes, body_bytes = decode_lengths(front)
        yield decode_head(source.read(head_bytes)), source.read(body_bytes)


def _warm_up(decoder: Decoder) -> None:
    """Decodes once with each codec: PyAV and Python import modules at first use, which the sandbox prevents later."""
    mp4 = io.BytesIO()
    with av.open(mp4, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    decoder.handle({"do": "picture", "at_us": 0}, mp4.getvalue())
    decoder.handle({"do": "picture", "at_us": 0}, b"")
    for codec in ("h264", "hevc"):
        body = bytes(_EMPTY_CONFIG_BYTES) + b"\0\0\0\4\x26\x88\x84\0"
        decoder.handle({"do": "still", "codec": codec, "width": 16, "config": _EMPTY_CONFIG_BYTES}, body)


def main(memory_bytes: int) -> None:
    """Handles requests until standard input ends."""
    source, sink, decoder = sys.stdin.buffer, sys.stdout.buffer, Decoder()
    _warm_up(decoder)
    sink.write(b"".join(encode_message({"confined": enter_sandbox(memory_bytes)})))
    sink.flush()
    for head, body in _read_requests(source):
        sink.writelines(decoder.handle(head, body))
        sink.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
