"""One picture of stored footage as a JPEG, decoded by PyAV in a small pool of its own: the loop never waits for it."""
# PyAV types its **kwargs and the packets that an encoder gives as unknown:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import io
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from fractions import Fraction

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from districam_common.errors import Rejected, Retriable

THREADS = 2
WAITING_MOST = 16
DECODE_S = 15.0
_QUALITY = "3"
_ANY_TIME_BASE = Fraction(1, 25)
_MICROSECONDS = 1_000_000


class NotDecodable(Rejected):
    """No picture comes out of what is stored."""


class Decoders:
    """At most `THREADS` pictures at once, and a few waiting."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._waiting = 0

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator["Decoders"]:
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="still")
        try:
            yield cls(pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    async def picture(self, video: bytes, at_us: int) -> tuple[bytes, int]:
        """The picture that `video`, an MP4 that starts with a keyframe, shows at `at_us` of it.

        Gives the JPEG, and the time in `video` since which it is shown; where all pictures are later, the first.

        Raises:
            NotDecodable: there is none. Retriable: too many are waiting, or it takes too long.
        """
        if self._waiting >= WAITING_MOST:
            raise Retriable(f"{WAITING_MOST} pictures are being decoded already")
        self._waiting += 1
        stop = threading.Event()
        try:
            async with asyncio.timeout(DECODE_S):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._pool, _picture, video, at_us, stop)
        except TimeoutError as error:
            raise Retriable(f"the picture was not decoded within {DECODE_S:.0f} s") from error
        finally:
            stop.set()
            self._waiting -= 1


def _picture(video: bytes, at_us: int, stop: threading.Event) -> tuple[bytes, int]:
    try:
        found = _shown(video, at_us, stop)
        if found is None:
            raise NotDecodable("what is stored holds no picture that can be decoded")
        frame, since_us = found
        return _jpeg(frame.reformat(format="yuvj420p")), since_us
    except (FFmpegError, ValueError) as error:  # the libraries refuse what the camera sent
        raise NotDecodable(f"what is stored cannot be decoded: {type(error).__name__}") from error


def _shown(video: bytes, at_us: int, stop: threading.Event) -> tuple[VideoFrame, int] | None:
    """The last picture up to `at_us`, and its time."""
    found: tuple[VideoFrame, int] | None = None
    with av.open(io.BytesIO(video), "r", format="mp4") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            since_us = round((frame.pts or 0) * (stream.time_base or _ANY_TIME_BASE) * _MICROSECONDS)
            if stop.is_set() or (found and since_us > at_us):
                break
            found = frame, since_us
    return found


def _jpeg(frame: VideoFrame) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = frame.time_base = _ANY_TIME_BASE
    encoder.options = {"qmin": _QUALITY, "qmax": _QUALITY}
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(map(bytes, packets))
