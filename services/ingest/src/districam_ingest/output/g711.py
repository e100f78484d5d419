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
from districam_ingest.codec.aac import parse_audio_specific_config
from districam_ingest.units import AudioUnit

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet

log = structlog.get_logger()

SAMPLE_RATE_HZ = 8_000
G711_CODECS = frozenset({"pcm_mulaw", "pcm_alaw"})
AAC_PARAMETERS = parse_audio_specific_config(bytes.fromhex("1588"), SAMPLE_RATE_HZ)
BIT_RATE = 32_000
BATCH_SAMPLES = 2048
"""Samples that are encoded together: packet by packet costs twice as much."""
GAP_TOLERANCE_SAMPLES = SAMPLE_RATE_HZ // 100
"""Samples by which timestamps may err without being a gap: some come by way of a wall clock."""
MAX_PENDING_SAMPLES = 8 * SAMPLE_RATE_HZ
"""Samples of a camera that may wait for the thread."""
_TIME_BASE = Fraction(1, SAMPLE_RATE_HZ)


class TranscoderPool:
    """The thread, and what a camera needs to use it."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    @classmethod
    @contextmanager
    def open(cls) -> Generator["TranscoderPool"]:
        pool = ThreadPoolExecutor(1, thread_name_prefix="g711")
        try:
            yield cls(pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def create_transcoder(self, codec: str) -> "Transcoder":
        """For one connection's sound of that name."""
        return Transcoder(self._pool, codec)


class Transcoder:
    """One connection's sound. Never waits: what is not encoded yet comes with a later call, or not at all.

    Attributes:
        pending_samples: samples that wait for the thread.
    """

    def __init__(self, pool: ThreadPoolExecutor, codec: str) -> None:
        self._pool = pool
        self._encoder = _Encoder(codec)
        self._pending: list[AudioUnit] = []
        self.pending_samples = 0
        self._running_batch: Future[list[AudioUnit]] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being encoded, or waits to be."""
        return self._running_batch is not None and not self._running_batch.done()

    def feed(self, units: Sequence[AudioUnit]) -> list[AudioUnit]:
        """Takes G.711 as it comes; gives the AAC that is done."""
        for unit in units:
            if self.pending_samples < MAX_PENDING_SAMPLES:
                self._pending.append(unit)
                self.pending_samples += len(unit.data)
        encoded: list[AudioUnit] = []
        if self._running_batch is not None and self._running_batch.done():
            encoded, self._running_batch = self._finish_batch(self._running_batch), None
        if self._running_batch is None and self.pending_samples >= BATCH_SAMPLES:
            self._running_batch = self._pool.submit(self._encoder.encode, self._pending)
            self._pending, self.pending_samples = [], 0
        return encoded

    def _finish_batch(self, future: Future[list[AudioUnit]]) -> list[AudioUnit]:
        try:
            return future.result()
        except (FFmpegError, ValueError) as error:
            log.warning("sound not encoded", why=type(error).__name__)
            self._encoder.reset()
            return []


class _Encoder:
    """A connection's sound, encoded one stretch without a gap after another. Used by one thread at a time."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._continuous: _ContinuousEncoder | None = None

    def reset(self) -> None:
        """What comes next begins a stretch."""
        self._continuous = None

    def encode(self, units: Sequence[AudioUnit]) -> list[AudioUnit]:
        out: list[AudioUnit] = []
        for unit in units:
            if self._continuous is None or abs(unit.pts - self._continuous.next_pts) > GAP_TOLERANCE_SAMPLES:
                self._continuous = _ContinuousEncoder(self._codec, unit.pts)
            out += self._continuous.encode(unit)
        return out


class _ContinuousEncoder:
    """Sound without a gap: an encoder would close one.

    Attributes:
        next_pts: where the next sound begins, in samples.
    """

    def __init__(self, codec: str, pts: int) -> None:
        self.next_pts = self._first_pts = pts
        self._decoder = _create_codec_context(codec, "r")
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE_HZ)
        self._encoder = _create_codec_context("aac", "w")
        self._encoder.format, self._encoder.bit_rate, self._encoder.time_base = "fltp", BIT_RATE, _TIME_BASE
        self._encoder.flags |= 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: no configuration in band

    def encode(self, unit: AudioUnit) -> list[AudioUnit]:
        pts, self.next_pts = self.next_pts, self.next_pts + len(unit.data)
        out: list[AudioUnit] = []
        for frame in self._decoder.decode(av.Packet(unit.data)):
            frame.pts, frame.time_base = pts, _TIME_BASE
            for resampled in self._resampler.resample(frame):
                out += [_to_audio_unit(p, unit) for p in self._encoder.encode(resampled) if self._is_after_priming(p)]
        return out

    def _is_after_priming(self, packet: "Packet[AudioStream]") -> bool:
        """Not so what the encoder puts in front of its first sample."""
        return packet.pts is not None and packet.pts >= self._first_pts


def _to_audio_unit(packet: "Packet[AudioStream]", source_unit: AudioUnit) -> AudioUnit:
    pts = packet.pts or 0
    offset_us = ticks.to_us(source_unit.pts - pts, SAMPLE_RATE_HZ)
    camera_us = None if source_unit.camera_us is None else source_unit.camera_us - offset_us
    return AudioUnit(bytes(packet), pts, source_unit.captured_us - offset_us, camera_us)


def _create_codec_context(codec: str, mode: str) -> AudioCodecContext:
    context = av.CodecContext.create(codec, "r" if mode == "r" else "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout = SAMPLE_RATE_HZ, "mono"
    return context
