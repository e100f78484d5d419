"""G.711 into AAC, which an MP4 can hold: decoded and encoded by PyAV in one thread for all cameras."""
# PyAV types the packets that an encoder gives as unknown:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import structlog
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError

from districam_common.contract import ticks
from districam_ingest.codec.aac import sound_shape
from districam_ingest.units import Sound

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet

log = structlog.get_logger()

RATE = 8_000
NAMES = frozenset({"pcm_mulaw", "pcm_alaw"})
SHAPE = sound_shape(bytes.fromhex("1588"), RATE)
BIT_RATE = 32_000
BATCH = 2048
"""Samples that are encoded together: packet by packet costs twice as much."""
GAP = RATE // 100
"""Samples by which timestamps may err without being a gap: some come by way of a wall clock."""
HELD_MOST = 8 * RATE
"""Samples of a camera that may wait for the thread."""
_TIME_BASE = Fraction(1, RATE)


class Transcoders:
    """The thread, and what a camera needs to use it."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    @classmethod
    @contextmanager
    def open(cls) -> Generator["Transcoders"]:
        pool = ThreadPoolExecutor(1, thread_name_prefix="g711")
        try:
            yield cls(pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def transcoder(self, name: str) -> "Transcoder":
        """For one connection's sound of that name."""
        return Transcoder(self._pool, name)


class Transcoder:
    """One connection's sound. Never waits: what is not encoded yet comes with a later call, or not at all.

    Attributes:
        held: samples that wait for the thread.
    """

    def __init__(self, pool: ThreadPoolExecutor, name: str) -> None:
        self._pool = pool
        self._encoding = _Encoding(name)
        self._waiting: list[Sound] = []
        self.held = 0
        self._running: Future[list[Sound]] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being encoded, or waits to be."""
        return self._running is not None and not self._running.done()

    def pass_on(self, sounds: Sequence[Sound]) -> list[Sound]:
        """Takes G.711 as it comes; gives the AAC that is done."""
        for sound in sounds:
            if self.held < HELD_MOST:
                self._waiting.append(sound)
                self.held += len(sound.data)
        done: list[Sound] = []
        if self._running is not None and self._running.done():
            done, self._running = self._result(self._running), None
        if self._running is None and self.held >= BATCH:
            self._running = self._pool.submit(self._encoding.encode, self._waiting)
            self._waiting, self.held = [], 0
        return done

    def _result(self, future: Future[list[Sound]]) -> list[Sound]:
        try:
            return future.result()
        except (FFmpegError, ValueError) as error:
            log.warning("sound not encoded", why=type(error).__name__)
            self._encoding.begin()
            return []


class _Encoding:
    """A connection's sound, encoded one stretch without a gap after another. Used by one thread at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stretch: _Stretch | None = None

    def begin(self) -> None:
        """What comes next begins a stretch."""
        self._stretch = None

    def encode(self, sounds: Sequence[Sound]) -> list[Sound]:
        out: list[Sound] = []
        for sound in sounds:
            if self._stretch is None or abs(sound.pts - self._stretch.next_pts) > GAP:
                self._stretch = _Stretch(self._name, sound.pts)
            out += self._stretch.encode(sound)
        return out


class _Stretch:
    """Sound without a gap: an encoder would close one.

    Attributes:
        next_pts: where the next sound begins, in samples.
    """

    def __init__(self, name: str, pts: int) -> None:
        self.next_pts = self._start = pts
        self._decoder = _context(name, "r")
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        self._encoder = _context("aac", "w")
        self._encoder.format, self._encoder.bit_rate, self._encoder.time_base = "fltp", BIT_RATE, _TIME_BASE
        self._encoder.flags |= 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: no configuration in band

    def encode(self, sound: Sound) -> list[Sound]:
        pts, self.next_pts = self.next_pts, self.next_pts + len(sound.data)
        out: list[Sound] = []
        for frame in self._decoder.decode(av.Packet(sound.data)):
            frame.pts, frame.time_base = pts, _TIME_BASE
            for resampled in self._resampler.resample(frame):
                out += [_timed(p, sound) for p in self._encoder.encode(resampled) if self._counts(p)]
        return out

    def _counts(self, packet: "Packet[AudioStream]") -> bool:
        """Not so what the encoder puts in front of its first sample."""
        return packet.pts is not None and packet.pts >= self._start


def _timed(packet: "Packet[AudioStream]", sound: Sound) -> Sound:
    pts = packet.pts or 0
    before_us = ticks.to_us(sound.pts - pts, RATE)
    camera_us = None if sound.camera_us is None else sound.camera_us - before_us
    return Sound(bytes(packet), pts, sound.taken_us - before_us, camera_us)


def _context(name: str, mode: str) -> AudioCodecContext:
    context = av.CodecContext.create(name, "r" if mode == "r" else "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout = RATE, "mono"
    return context
