"""The ffmpeg reader: libavformat's RTSP through PyAV, one daemon thread per stream."""
# PyAV types its **kwargs as unknown:
# pyright: reportUnknownMemberType=false

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import av
import av.error
import av.logging

from districam_common.contract import ticks
from districam_common.contract.events import Cause
from districam_common.runtime.clock import Clock
from districam_common.runtime.credentials import Credential
from districam_ingest.codec import h264
from districam_ingest.codec.aac import AudioParameters, parse_audio_specific_config
from districam_ingest.codec.audio_codecs import G711_RATE_HZ, STORED, TRANSCODED
from districam_ingest.codec.nal import BitstreamError, Codec, split_annexb
from districam_ingest.readers.libav_assembler import LibavAssembler
from districam_ingest.readers.monotonic_pts import MonotonicPts
from districam_ingest.readers.pause_detector import PauseDetector
from districam_ingest.readers.reader import ReadError, SourceInfo
from districam_ingest.rtsp.message import RtspError
from districam_ingest.units import AudioUnit, Picture

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

    AnyPacket = Packet[VideoStream] | Packet[AudioStream] | Packet[Stream]

Value = TypeVar("Value")

MAX_PENDING_AUDIO_UNITS = 4096
PAUSE_S, PRECISE_PAUSE_S, PRECISE_US = 0.1, 0.02, 10_000_000
"""Pauses are short while an epoch is being anchored, for at most ten seconds, like the native reader's ticks."""
MAX_PENDING_PICTURES = 500
"""Pictures queued for the event loop before the thread stops reading, so that TCP slows the camera down."""

_OPTIONS = {
    # Packets as received: libavformat's parser leaves the first picture, often a keyframe, without a PTS.
    "fflags": "nofillin+noparse",
    # No probing, since the SDP has parameter sets: the first packet opens the stream (measured: 2 ms of CPU).
    "analyzeduration": "1",
    "fpsprobesize": "0",
}
_PORTS = {"rtsps": 322}
_PORT = 554
_CODECS: dict[str, Codec] = {"h264": "h264", "hevc": "hevc"}
_CAUSES: tuple[tuple[type[Exception], Cause], ...] = (
    (av.error.HTTPUnauthorizedError, "auth_failed"),
    (av.error.HTTPForbiddenError, "auth_failed"),
    (av.error.HTTPNotFoundError, "not_found"),
    (av.error.HTTPError, "camera_unreachable"),
    (av.error.ExitError, "source_silent"),
    (av.error.TimeoutError, "source_silent"),
    (av.error.EOFError, "camera_unreachable"),
    (OSError, "camera_unreachable"),
)


_DEADLINES = (av.error.ExitError, av.error.TimeoutError, av.error.InvalidDataError)
"""Errors that libav raises when a deadline interrupts it."""
CONNECT_TIMEOUT_S = 1.0


def is_listening(url: str) -> bool:
    """Whether the URL's host accepts TCP connections on its port. Blocks for `CONNECT_TIMEOUT_S` at most."""
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme, _PORT)
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True


def classify_error(error: Exception, *, is_open: bool) -> Cause:
    """The ledger's cause for a libav error; a timeout while opening means `camera_unreachable`."""
    for kind, cause in _CAUSES:
        if isinstance(error, kind):
            return "camera_unreachable" if cause == "source_silent" and not is_open else cause
    return "stream_error" if is_open else "camera_unreachable"


def url_with_credential(url: str, credential: Credential | None) -> str:
    """The URL with the credential in it, as libavformat needs it. Never log it."""
    if credential is None:
        return url
    parts = urlsplit(url)
    secret = f"{quote(credential.username, safe='')}:{quote(credential.password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{secret}@{parts.netloc}"))


async def _check_host(url: str, credential: Credential) -> None:
    """Raises ReadError if the credential may not be sent to some address of the URL's host."""
    try:
        parts = urlsplit(url)
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        raise ReadError("camera_unreachable", "the host has no address") from None
    for *_, address in found:
        if not credential.may_be_sent_to(str(address[0])):
            raise ReadError("auth_failed", f"the credential's hosts do not include {address[0]}")


class LibavReader:
    """Opens RTSP streams with libavformat.

    Args:
        open_s, read_s: libavformat's own timeouts of opening and reading; the caller sets deadlines besides.
        audio_codecs: audio codecs that are delivered if audio is wanted, by libavcodec's names.
        ca_file: CA certificates that verify `rtsps` cameras; None: certificates are not verified.
    """

    name = "ffmpeg"

    def __init__(
        self,
        clock: Clock,
        *,
        open_s: float,
        read_s: float,
        audio_codecs: Collection[str] = STORED,
        ca_file: Path | None = None,
    ) -> None:
        self._audio_codecs = audio_codecs
        self._tls_options = {"ca_file": str(ca_file), "tls_verify": "1"} if ca_file is not None else {}
        self._clock, self._open_s, self._read_s = clock, open_s, read_s
        av.logging.set_level(None)  # libav's own log prints URLs with their passwords

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator["LibavSource"]:
        if credential is not None and credential.networks:
            await _check_host(url, credential)
        source = LibavSource(asyncio.get_running_loop(), self._clock, self._audio_codecs)
        options = {
            # libavformat follows redirects to any host by opening the protocol `rtsp`, with the password.
            "protocol_whitelist": "rtp,tcp,udp,tls,crypto" + (",rtsp" if credential is None else ""),
            "rtsp_transport": transport,
            "allowed_media_types": "video+audio" if with_audio else "video",
            "timeout": str(round(self._read_s * 1e6)),
            **self._tls_options,
            **_OPTIONS,
        }
        limits = (self._open_s, self._read_s)
        pause_detector = PauseDetector() if transport == "tcp" else None  # a pause could overflow UDP buffers
        thread = threading.Thread(
            target=source.run,
            args=(url_with_credential(url, credential), options, limits, pause_detector),
            daemon=True,
            name="libav",
        )
        thread.start()
        try:
            await source.wait_opened()
            yield source
        finally:
            source.close()  # the thread ends after its next packet or its timeout


class LibavSource:
    """One open stream. `run` runs on the thread, all other public methods on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, audio_codecs: Collection[str]) -> None:
        self._loop, self._clock, self._audio_codecs = loop, clock, audio_codecs
        self._info: asyncio.Future[SourceInfo] = loop.create_future()
        self._queue: asyncio.Queue[Picture | ReadError] = asyncio.Queue()
        self._slots = threading.Semaphore(MAX_PENDING_PICTURES)
        self._closed = threading.Event()
        self._audio_units: deque[AudioUnit] = deque(maxlen=MAX_PENDING_AUDIO_UNITS)
        self._precise_until_us = 0
        self.use_precise_arrival()

    @property
    def info(self) -> SourceInfo:
        return self._info.result()

    async def wait_opened(self) -> None:
        """Waits until the stream is open.

        Raises:
            ReadError: it cannot be opened.
        """
        await asyncio.shield(self._info)

    def close(self) -> None:
        self._closed.set()
        self._slots.release(MAX_PENDING_PICTURES)
        if self._info.done() and not self._info.cancelled():
            self._info.exception()  # marks it as retrieved: asyncio would log it otherwise

    def use_precise_arrival(self) -> None:
        """See `Source`: makes pauses short."""
        self._precise_until_us = self._clock.monotonic_us() + PRECISE_US

    async def read(self) -> list[Picture]:
        """Removes and returns all queued pictures, at least one. Raises ReadError."""
        out: list[Picture] = []
        item = await self._queue.get()
        while not isinstance(item, ReadError):
            out.append(item)
            if self._queue.empty():
                self._slots.release(len(out))
                return out
            item = self._queue.get_nowait()
        self._queue.put_nowait(item)  # the next read raises it again
        if not out:
            raise item
        return out

    def read_remaining(self) -> list[Picture]:
        """See `Source`. What the thread or libavformat still holds is left out: it would need waiting."""
        out: list[Picture] = []
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if not isinstance(item, ReadError):
                out.append(item)
        return out

    def drain_audio(self) -> list[AudioUnit]:
        """See `Source`."""
        units = list(self._audio_units)
        self._audio_units.clear()
        return units

    # ---- on the thread

    def run(
        self, url: str, options: dict[str, str], limits: tuple[float, float], pause_detector: PauseDetector | None
    ) -> None:
        """Opens the stream and delivers its pictures until it ends or `close` was called.

        It pauses between packets if it may: waking up for each packet is most of a stream's CPU cost.
        """
        is_open = False
        try:
            with av.open(url, format="rtsp", options=options, timeout=limits) as container:
                video = next(iter(container.streams.video), None)
                if video is None or video.codec_context.name not in _CODECS:
                    self._fail(ReadError("stream_error", "the stream has no H.264 or H.265 video"))
                    return
                is_open = True
                audio = next(iter(container.streams.audio), None)
                info = _source_info(video, audio, self._audio_codecs)
                self._call_on_loop(self._set_info, info)
                self._run_demuxer(self._pause_between(_packets(container, video, audio), pause_detector), info)
            self._fail(ReadError("camera_unreachable", "the camera ended the stream"))
        except (av.error.FFmpegError, OSError) as error:
            # Only strerror: the error's own text holds the URL with its password.
            detail = getattr(error, "strerror", None) or type(error).__name__
            cause = classify_error(error, is_open=is_open)
            if not is_open and isinstance(error, _DEADLINES) and not self._closed.is_set() and is_listening(url):
                cause, detail = "source_silent", "the camera accepts connections but does not answer RTSP requests"
            self._fail(ReadError(cause, detail))
        except RtspError as error:
            self._fail(ReadError("stream_error", str(error)))
        except Exception as error:  # noqa: BLE001  # a bug costs one camera; its `read` must not wait for ever
            self._fail(ReadError("stream_error", f"internal error of the reader: {type(error).__name__}"))

    def _run_demuxer(self, packets: "Iterator[AnyPacket]", info: SourceInfo) -> None:
        assembler = LibavAssembler(info.codec, has_fields=h264.may_have_fields(info.codec, info.parameter_sets))
        audio_timestamper = _AudioTimestamper(info.audio) if info.audio is not None or info.has_g711 else None
        monotonic_pts = MonotonicPts() if info.audio_codec is not None else None
        try:
            for packet in packets:
                if self._closed.is_set():
                    return
                arrival_us = self._clock.monotonic_us()
                if packet.stream.type == "audio":
                    self._deliver_audio(audio_timestamper, packet, arrival_us)
                elif packet.size:
                    pts = (
                        packet.pts
                        if monotonic_pts is None or packet.pts is None
                        else monotonic_pts.feed(packet.pts, arrival_us)
                    )
                    self._deliver(assembler.feed(bytes(packet), pts, arrival_us, _camera_us(packet)))
        finally:  # also after a broken connection: what arrived before is complete
            self._deliver(assembler.close())

    def _pause_between(
        self, packets: "Iterator[AnyPacket]", pause_detector: PauseDetector | None
    ) -> "Iterator[AnyPacket]":
        if pause_detector is None:
            yield from packets
            return
        for packet in packets:
            yield packet
            now_us = self._clock.monotonic_us()
            is_timed = packet.stream.type == "video" and packet.pts is not None
            if is_timed and pause_detector.may_pause(now_us, ticks.to_us(packet.pts or 0)):
                self._closed.wait(PRECISE_PAUSE_S if now_us < self._precise_until_us else PAUSE_S)

    def _deliver_audio(
        self, audio_timestamper: "_AudioTimestamper | None", packet: "AnyPacket", arrival_us: int
    ) -> None:
        if audio_timestamper is not None and packet.size:
            self._call_on_loop(self._audio_units.append, audio_timestamper.feed(packet, arrival_us))

    def _deliver(self, pictures: list[Picture]) -> None:
        for picture in pictures:
            self._slots.acquire()
            self._call_on_loop(self._queue.put_nowait, picture)

    def _fail(self, error: ReadError) -> None:
        self._call_on_loop(self._set_error, error)

    def _call_on_loop(self, function: Callable[[Value], None], value: Value) -> None:
        if not self._closed.is_set():
            try:
                self._loop.call_soon_threadsafe(function, value)
            except RuntimeError:  # the loop is closed
                self._closed.set()

    def _set_info(self, info: SourceInfo) -> None:
        if not self._info.done():
            self._info.set_result(info)

    def _set_error(self, error: ReadError) -> None:
        if self._closed.is_set():
            return
        if not self._info.done():
            self._info.set_exception(error)
        self._queue.put_nowait(error)


def _source_info(video: "VideoStream", audio: "AudioStream | None", audio_codecs: Collection[str]) -> SourceInfo:
    extradata = video.codec_context.extradata or b""
    name = audio.codec_context.name if audio is not None else None
    return SourceInfo(
        codec=_CODECS[video.codec_context.name],
        parameter_sets=tuple(split_annexb(extradata)),
        reader="ffmpeg",
        audio=_audio_parameters(audio),
        has_g711=name in TRANSCODED and name in audio_codecs,
        audio_codec=name,
    )


def _audio_parameters(audio: "AudioStream | None") -> AudioParameters | None:
    """Parameters of AAC audio; None for other codecs and for AAC that is not supported."""
    if audio is None or audio.codec_context.name != "aac" or audio.time_base is None:
        return None
    try:
        return parse_audio_specific_config(bytes(audio.codec_context.extradata or b""), audio.time_base.denominator)
    except BitstreamError:
        return None


def _packets(container: "InputContainer", video: "VideoStream", audio: "AudioStream | None") -> "Iterator[AnyPacket]":
    if audio is None:
        return iter(container.demux(video))
    return iter(container.demux(video, audio))


class _AudioTimestamper:
    """Timestamps audio units: libavformat gives only the first one of an RTP packet a PTS."""

    def __init__(self, parameters: AudioParameters | None) -> None:
        self._clock_rate, self._unit_ticks = (
            (parameters.clock_rate, parameters.unit_ticks) if parameters else (G711_RATE_HZ, 0)
        )
        self._next_pts = 0

    def feed(self, packet: "AnyPacket", arrival_us: int) -> AudioUnit:
        pts = self._next_pts if packet.pts is None else packet.pts
        length = self._unit_ticks or packet.size  # G.711: one byte per sample
        self._next_pts = pts + length
        lasts_us = ticks.to_us(length, self._clock_rate)
        return AudioUnit(bytes(packet), pts, arrival_us - lasts_us, _camera_us(packet))


def _camera_us(packet: "AnyPacket") -> int | None:
    """The camera's wall clock by its RTCP sender reports, µs UTC; None before the first one."""
    raw = bytes(packet.get_sidedata("prft"))  # AVProducerReferenceTime: wallclock is its first field
    return struct.unpack_from("=q", raw)[0] if len(raw) >= 8 else None
