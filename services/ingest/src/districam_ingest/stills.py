"""A keyframe as a small JPEG, decoded by PyAV on a bounded pool that may fall behind and skip, never hold up a fragment."""
# PyAV types its **kwargs and the packets that an encoder gives as unknown:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import av
import structlog
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from districam_common.media import Still
from districam_ingest import metrics
from districam_ingest.core.nal import Codec

log = structlog.get_logger()

WAITING_MOST = 8
_ANY_TIME_BASE = Fraction(1, 25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A keyframe to be made a still: `data` is its length-prefixed access unit."""

    camera_id: str
    epoch: str
    seq: int
    at_us: int
    codec: Codec
    config: bytes
    data: bytes


class Stills:
    """Makes stills on `threads` threads and hands them to `publish`."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        publish: Callable[[Still], Awaitable[None]],
        *,
        threads: int,
        width: int,
    ) -> None:
        self._tasks, self._publish, self._width = tasks, publish, width
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="still")
        self._waiting = 0

    def offer(self, wanted: Wanted) -> None:
        """Takes the keyframe, or skips it and counts when the pool is behind."""
        if self._waiting >= WAITING_MOST:
            metrics.STILLS_SKIPPED.inc()
            return
        self._waiting += 1
        self._tasks.create_task(self._make(wanted), name=f"still {wanted.camera_id}")

    async def _make(self, wanted: Wanted) -> None:
        loop = asyncio.get_running_loop()
        try:
            still = await loop.run_in_executor(self._pool, still_of, wanted, self._width)
            if still is None:
                metrics.STILLS_SKIPPED.inc()
            else:
                await self._publish(still)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def still_of(wanted: Wanted, width: int) -> Still | None:
    """The picture scaled to `width`; None if it can't be decoded alone."""
    try:
        frame = _decoded(wanted)
        if frame is None:
            return None
        height = max(2, round(frame.height * width / frame.width / 2) * 2)
        jpeg = _jpeg(frame.reformat(width=width, height=height, format="yuvj420p"))
    except (FFmpegError, ValueError) as error:  # the libraries refuse what the camera sent
        log.debug("still not decodable", camera=wanted.camera_id, why=type(error).__name__)
        return None
    return Still(
        camera_id=wanted.camera_id,
        epoch=wanted.epoch,
        seq=wanted.seq,
        at_us=wanted.at_us,
        width=width,
        height=height,
        jpeg=jpeg,
    )


def _decoded(wanted: Wanted) -> VideoFrame | None:
    context = av.CodecContext.create(wanted.codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.extradata = wanted.config
    context.thread_count = 1
    for packet in (av.Packet(wanted.data), None):
        for frame in context.decode(packet):
            return frame
    return None


def _jpeg(frame: VideoFrame) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = frame.time_base = _ANY_TIME_BASE
    encoder.options = {"qmin": "5", "qmax": "5"}
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(map(bytes, packets))
