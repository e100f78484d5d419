"""An open stream of the native reader, whose socket is read on a tick.

Waking up for each packet is most of the cost of reading a camera. Recording needs only three reads per
second: one `recv` per tick takes everything that has arrived. Ticks of several cameras share a wake-up where
possible (`Ticker`).

A picture's time of arrival is when its first bytes were read: up to a tick late, never early, like delays of
the network. The true time of arrival is therefore estimated from the least delayed pictures. For that, ticks
are short until a second after the keyframe that begins an epoch and anchors its time; later they have random
length, since the pictures of a camera in step with a fixed tick would all be equally late.
"""

import random
from contextlib import suppress
from typing import Final

from districam_common.contract.events import Cause
from districam_common.runtime.clock import Clock
from districam_ingest.codec.nal import is_keyframe
from districam_ingest.readers.connection import Connection
from districam_ingest.readers.dialer import drain_send_buffer
from districam_ingest.readers.reader import ReadError, SourceInfo
from districam_ingest.readers.ticker import Ticker
from districam_ingest.readers.udp_sockets import UdpSockets
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.rate_limiter import MAX_STEP_UNITS, ReadRateLimiter
from districam_ingest.rtsp.session import Session
from districam_ingest.units import AudioUnit, Picture

NAME: Final = "native"
MIN_TICK_US: Final = 250_000
MAX_TICK_US: Final = 400_000
PRECISE_TICK_US: Final = 20_000
SLACK_US: Final = 50_000
"""How much longer a tick may wait to share a wake-up with other cameras; short ticks wait half their length."""
PRECISE_AFTER_KEYFRAME_US: Final = 1_200_000
MAX_PRECISE_US: Final = 10_000_000
"""Ticks are short for PRECISE_AFTER_KEYFRAME_US after an epoch's first keyframe; before it for at most
MAX_PRECISE_US."""
MAX_RECEIVE_BYTES: Final = 1 << 20
BACKLOG_BYTES: Final = MAX_RECEIVE_BYTES // 2
"""After reading this much, the next tick is short: a full socket buffer holds the camera back."""
MAX_FINAL_TICKS: Final = 8
MAX_FINAL_US: Final = 100_000
"""Bounds of reading the rest before a stream is closed: 8 MiB are more than a Linux socket buffers."""
PUNCH_INTERVAL_US: Final = 5_000_000
TOO_FAST: Final = "the camera has exceeded the read rate limit (packets, NAL units or pictures) for a minute"


class NativeSource:
    """One open stream. Only `read` reads the socket: without it TCP flow control holds the camera back."""

    def __init__(
        self,
        session: Session,
        connection: Connection,
        udp_sockets: UdpSockets | None,
        clock: Clock,
        *,
        ticker: Ticker,
        buffer: memoryview,
        read_us: int,
        rate_limiter: ReadRateLimiter,
    ) -> None:
        self.info = _source_info(session.client, "tcp" if udp_sockets is None else "udp")
        self._session, self._connection, self._clock = session, connection, clock
        self._udp_sockets, self._punched_us = udp_sockets, clock.monotonic_us()
        self._buffer, self._read_us = buffer, read_us
        self._ticker, self._random = ticker, random.Random()  # noqa: S311  # jitter of ticks, no secret
        self._last_tick_us = self._last_received_us = clock.monotonic_us()
        self._precise_until_us, self._awaits_keyframe = 0, False
        self._has_backlog = False
        self._rate_limiter, self._charged_cost = rate_limiter, session.cost
        self.use_precise_arrival()
        self._pending = session.drain_video()
        self._error: ReadError | None = None

    async def read(self) -> list[Picture]:
        """Waits for pictures; returns all that are complete, at least one. Raises ReadError."""
        while not self._pending:
            if self._error is not None:
                raise self._error
            await self._ticker.wait_until(*self._next_tick())
            self._tick(self._clock.monotonic_us())
        pictures, self._pending = self._pending, []
        if self._awaits_keyframe:
            self._check_for_keyframe(pictures)
        return pictures

    def read_remaining(self) -> list[Picture]:
        """See `Source`."""
        pictures, self._pending = self._pending, list[Picture]()
        now_us = self._clock.monotonic_us()
        until_us, self._has_backlog = now_us + MAX_FINAL_US, True
        for _ in range(MAX_FINAL_TICKS):
            if self._error is not None or not self._has_backlog or now_us >= until_us:
                break
            self._tick(now_us)
            pictures += self._pending
            self._pending = list[Picture]()
            now_us = self._clock.monotonic_us()
        return pictures + self._session.drain_remaining()

    def drain_audio(self) -> list[AudioUnit]:
        """See `Source`."""
        return self._session.drain_audio()

    def use_precise_arrival(self) -> None:
        """See `Source`: makes ticks short."""
        self._precise_until_us = self._last_tick_us + MAX_PRECISE_US
        self._awaits_keyframe = True

    def close(self) -> None:
        """Sends TEARDOWN, without waiting for the response."""
        client = self._session.client
        client.teardown()
        with suppress(OSError):
            self._connection.send_nowait(drain_send_buffer(client))

    def _next_tick(self) -> tuple[int, int]:
        """When the next tick is due (µs monotonic), and its slack in µs."""
        if self._has_backlog or self._last_tick_us < self._precise_until_us:
            tick_us, slack_us = PRECISE_TICK_US, PRECISE_TICK_US // 2
        else:
            jitter_us = int(self._random.random() * (MAX_TICK_US - MIN_TICK_US))
            tick_us, slack_us = MIN_TICK_US + jitter_us, SLACK_US
        if self._udp_sockets is not None:
            tick_us = min(tick_us, self._udp_sockets.tick_us)
        return max(self._last_tick_us + tick_us - slack_us, self._rate_limiter.ready_us), slack_us

    def _tick(self, now_us: int) -> None:
        self._last_tick_us = now_us
        session, client = self._session, self._session.client
        try:
            self._receive_stream(now_us)
            if self._udp_sockets is not None:
                self._exchange_datagrams(self._udp_sockets, now_us)
            session.keep_alive(now_us)
            if client.send_buffer:
                self._connection.send_nowait(drain_send_buffer(client))
        except OSError as error:
            self._fail("camera_unreachable", error.strerror or type(error).__name__)
            return
        except RtspError as error:
            self._fail("stream_error", str(error))
            return
        self._pending = session.drain_video()
        self._rate_limiter.charge(session.cost - self._charged_cost, now_us)
        self._charged_cost = session.cost
        if session.has_bye:
            self._fail("camera_unreachable", "the camera ended the stream")
        elif self._rate_limiter.is_overloaded(now_us):
            self._fail("stream_error", TOO_FAST)
        elif now_us - self._last_received_us >= self._read_us:
            self._fail("source_silent", "no data from the camera within the read timeout")

    def _receive_stream(self, now_us: int) -> None:
        """Processes `MAX_STEP_UNITS` of what the connection has received, or of what the last tick left."""
        session = self._session
        if session.has_pending_input:
            self._last_received_us = now_us
            session.resume(MAX_STEP_UNITS)
            self._has_backlog = self._has_backlog or session.has_pending_input
            return
        data = self._connection.receive_nowait(MAX_RECEIVE_BYTES)
        self._has_backlog = len(data) >= BACKLOG_BYTES
        if data:
            self._last_received_us = now_us
            session.feed(data, now_us, MAX_STEP_UNITS)
            self._has_backlog = self._has_backlog or session.has_pending_input

    def _exchange_datagrams(self, udp_sockets: UdpSockets, now_us: int) -> None:
        session = self._session
        cost_limit = session.cost + MAX_STEP_UNITS
        for track, is_rtcp, packet in udp_sockets.receive_nowait(self._buffer):
            self._last_received_us = now_us
            session.feed_datagram(packet, now_us, track_index=track, is_rtcp=is_rtcp)
            if session.cost >= cost_limit:
                self._has_backlog = True
                break
        for track, report in session.pending_rtcp:
            udp_sockets.send_rtcp(track, report)
        session.pending_rtcp.clear()
        if now_us - self._punched_us >= PUNCH_INTERVAL_US:
            self._punched_us = now_us
            udp_sockets.punch()

    def _fail(self, cause: Cause, detail: str) -> None:
        if self._udp_sockets is not None:
            with suppress(RtspError):  # datagrams from before the end may still be in the sockets
                self._exchange_datagrams(self._udp_sockets, self._last_tick_us)
        self._pending += self._session.close()
        self._error = ReadError(cause, detail)

    def _check_for_keyframe(self, pictures: list[Picture]) -> None:
        for picture in pictures:
            if is_keyframe(self.info.codec, picture.nals):
                self._awaits_keyframe = False
                self._precise_until_us = picture.arrival_us + PRECISE_AFTER_KEYFRAME_US
                return


def _source_info(client: Client, transport: str) -> SourceInfo:
    video, audio = client.video, client.audio
    assert video is not None
    return SourceInfo(
        codec=video.codec,
        parameter_sets=video.parameter_sets,
        reader=NAME,
        server=client.server,
        transport=transport,
        auth=client.scheme,
        audio=audio.parameters if audio is not None and client.audio_track_index is not None else None,
        has_g711=audio is not None and client.audio_track_index is not None and audio.parameters is None,
        audio_codec=audio.codec if audio is not None else None,
    )
