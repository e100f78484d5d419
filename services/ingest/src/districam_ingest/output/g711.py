"""Transcodes G.711 to AAC, which MP4 can hold, with PyAV in one thread for all cameras."""
# PyAV types the packets that an encoder returns as unknown:
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
from districam_ingest.codec.audio_codecs import G711_RATE_HZ
from districam_ingest.units import AudioUnit

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet

log = structlog.get_logger()

AAC_PARAMETERS = parse_audio_specific_config(bytes.fromhex("1588"), G711_RATE_HZ)
"""AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1): audioObjectType 2 (AAC LC), samplingFrequencyIndex 11, one channel."""
BIT_RATE = 32_000
BATCH_SAMPLES = 2048
"""Samples encoded per job: encoding packet by packet costs twice as much."""
GAP_TOLERANCE_SAMPLES = G711_RATE_HZ // 100
"""Timestamp error that is not treated as a gap: some timestamps are derived from a wall clock."""
MAX_PENDING_SAMPLES = 8 * G711_RATE_HZ
"""Samples of one connection that may wait for the thread; beyond it audio is dropped."""
_TIME_BASE = Fraction(1, G711_RATE_HZ)


class TranscoderPool:
    """The encoding thread that all cameras share."""

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
        """Returns a transcoder for one connection's audio; `codec` is one of `audio_codecs.TRANSCODED`."""
        return Transcoder(self._pool, codec)


class Transcoder:
    """Transcodes one connection's audio without blocking: results are returned by later calls of `feed`.

    Attributes:
        pending_samples: samples waiting for the thread.
    """

    def __init__(self, pool: ThreadPoolExecutor, codec: str) -> None:
        self._pool = pool
        self._encoder = _Encoder(codec)
        self._pending: list[AudioUnit] = []
        self.pending_samples = 0
        self._running_batch: Future[list[AudioUnit]] | None = None

    @property
    def is_busy(self) -> bool:
        """True while a batch is being encoded, or waits for the thread."""
        return self._running_batch is not None and not self._running_batch.done()

    def feed(self, units: Sequence[AudioUnit]) -> list[AudioUnit]:
        """Takes G.711 audio units; returns the AAC units finished since the last call."""
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
            log.warning("audio not encoded", why=type(error).__name__)
            self._encoder.reset()
            return []


class _Encoder:
    """Encodes one connection's audio and restarts the codec at gaps. Used by one thread at a time."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._continuous: _ContinuousEncoder | None = None

    def reset(self) -> None:
        """Restarts the codec with the next unit."""
        self._continuous = None

    def encode(self, units: Sequence[AudioUnit]) -> list[AudioUnit]:
        out: list[AudioUnit] = []
        for unit in units:
            if self._continuous is None or abs(unit.pts - self._continuous.next_pts) > GAP_TOLERANCE_SAMPLES:
                self._continuous = _ContinuousEncoder(self._codec, unit.pts)
            out += self._continuous.encode(unit)
        return out


class _ContinuousEncoder:
    """Encodes audio without gaps: an encoder counts samples, so that audio after a gap would be timed too early.

    Attributes:
        next_pts: the expected pts of the next unit, in samples.
    """

    def __init__(self, codec: str, pts: int) -> None:
        self.next_pts = self._first_pts = pts
        self._decoder = _create_codec_context(codec, "r")
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=G711_RATE_HZ)
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
        """False for priming packets, which the encoder emits before its first sample."""
        return packet.pts is not None and packet.pts >= self._first_pts


def _to_audio_unit(packet: "Packet[AudioStream]", source_unit: AudioUnit) -> AudioUnit:
    pts = packet.pts or 0
    offset_us = ticks.to_us(source_unit.pts - pts, G711_RATE_HZ)
    camera_us = None if source_unit.camera_us is None else source_unit.camera_us - offset_us
    return AudioUnit(bytes(packet), pts, source_unit.captured_us - offset_us, camera_us)


def _create_codec_context(codec: str, mode: str) -> AudioCodecContext:
    context = av.CodecContext.create(codec, "r" if mode == "r" else "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout = G711_RATE_HZ, "mono"
    return context
