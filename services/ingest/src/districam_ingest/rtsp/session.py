"""One RTSP connection without I/O: its bytes and datagrams go to the `Client` and to the tracks."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from districam_ingest.codec import h264
from districam_ingest.rtsp.audio_track import AudioTrack
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.framing import Framer
from districam_ingest.rtsp.jitter_buffer import JitterBuffer
from districam_ingest.rtsp.message import Message, RtspError
from districam_ingest.rtsp.rate_limiter import BYTES_PER_UNIT, MESSAGE_COST, NON_VIDEO_BYTES_PER_UNIT
from districam_ingest.rtsp.transport_header import InterleavedChannels
from districam_ingest.rtsp.video_track import VideoTrack
from districam_ingest.units import AudioUnit, Picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from districam_ingest.rtsp.framing import Item

REPORT_INTERVAL_US: Final = 5_000_000
_MAX_STALE_SSRCS: Final = 8
RTCP_TYPES: Final = range(192, 224)
"""Values of the second byte that mean RTCP, where RTP has marker and payload type (RFC 5761 section 4)."""
_HELD_PACKETS_PER_UNIT: Final = 16
"""Held packets per cost unit: the jitter buffer's work for a UDP packet grows with their number."""


class Session:
    """Feeds the client and its tracks.

    Args:
        our_ssrc: our SSRC in receiver reports.

    Attributes:
        pending_rtcp: track index and receiver report, to be sent over UDP; the sender clears the list.
        has_pending_input: whether a part of the bytes fed last is left for `resume`.
    """

    def __init__(self, client: Client, *, our_ssrc: int) -> None:
        self.client = client
        self._our_ssrc = our_ssrc
        self._framer = Framer()
        self._video: VideoTrack | None = None
        self._stale_ssrcs: set[int] = set()
        self._video_channels = (-1, -1)
        self._audio: AudioTrack | None = None
        self._audio_channels = (-1, -1)
        self._video_jitter_buffer, self._audio_jitter_buffer = JitterBuffer(), JitterBuffer()
        self.pending_rtcp: list[tuple[int, bytes]] = []
        self._next_report_us = 0
        self.has_pending_input = False
        self._items: Iterator[Item] = iter(())
        self._arrival_us = 0
        self._cost = 0

    @property
    def cost(self) -> int:
        """Cost units (`rate_limiter`) of everything received so far."""
        return self._cost + (self._video.cost if self._video is not None else 0)

    @property
    def has_bye(self) -> bool:
        """True once the camera has sent an RTCP BYE for the video."""
        return self._video is not None and self._video.has_bye

    def feed(self, data: bytes, arrival_us: int, max_units: int = 1 << 40) -> None:
        """Takes bytes of the connection that arrived at `arrival_us` (monotonic), split anywhere.

        It stops after about `max_units` cost units; `resume` must then be called before more is fed.

        Raises:
            RtspError: the connection is unusable; `drain_video` returns the pictures before the error.
        """

        def feed_batch(data: bytes, at: int) -> int:
            video = self._video
            return at if video is None else video.feed_batch(data, at, self._video_channels[0], arrival_us)

        self._cost += len(data) // BYTES_PER_UNIT
        self._items, self._arrival_us = self._framer.feed(data, feed_batch), arrival_us
        self.resume(max_units)

    def resume(self, max_units: int = 1 << 40) -> None:
        """Processes the rest of the bytes fed last, with the limit and errors of `feed`."""
        video, (rtp_channel, rtcp_channel) = self._video, self._video_channels
        arrival_us, cost_limit = self._arrival_us, self.cost + max_units
        for item in self._items:
            if isinstance(item, Message):
                self._cost += MESSAGE_COST
                self._handle_message(item)
                video, (rtp_channel, rtcp_channel) = self._video, self._video_channels
            elif video is not None:
                channel, packet = item
                if channel == rtp_channel:
                    video.feed(packet, arrival_us)
                else:
                    self._cost += 1 + len(packet) // NON_VIDEO_BYTES_PER_UNIT
                    if channel == rtcp_channel:
                        video.feed_rtcp(packet, arrival_us)
                    elif self._audio is not None:
                        self._feed_audio(channel, packet, arrival_us)
            else:
                self._cost += 1
                self._add_stale_ssrc(item[1])
            if self.cost >= cost_limit:
                self.has_pending_input = True
                return
        self.has_pending_input = False

    def _add_stale_ssrc(self, packet: bytes) -> None:
        """Notes the SSRC of an RTP packet before SETUP: it belongs to another session (see `VideoTrack`)."""
        is_rtp = len(packet) >= 12 and packet[0] >> 6 == 2 and packet[1] not in RTCP_TYPES
        if is_rtp and len(self._stale_ssrcs) < _MAX_STALE_SSRCS:
            self._stale_ssrcs.add(int.from_bytes(packet[8:12], "big"))

    def _feed_audio(self, channel: int, packet: bytes, arrival_us: int) -> None:
        assert self._audio is not None
        rtp_channel, rtcp_channel = self._audio_channels
        if channel == rtp_channel:
            self._audio.feed(packet, arrival_us)
        elif channel == rtcp_channel:
            self._audio.feed_rtcp(packet, arrival_us)

    def feed_datagram(self, packet: bytes, arrival_us: int, *, track_index: int, is_rtcp: bool) -> None:
        """Takes an RTP or RTCP datagram, in any order; `track_index` is an index of `client.transports`.

        Raises:
            RtspError: as `feed` does.
        """
        track = (
            self._audio
            if track_index and track_index == self.client.audio_track_index
            else None
            if track_index
            else self._video
        )
        if track is None:
            return
        if is_rtcp or track_index:
            self._cost += 1 + len(packet) // NON_VIDEO_BYTES_PER_UNIT
        if is_rtcp:
            track.feed_rtcp(packet, arrival_us)
            return
        if packet[1:2] and packet[1] & 0x7F != track.payload_type:
            # Kept out of the jitter buffer: Uniview cameras give such a packet the sequence number of the
            # next video packet (docs/cameras.md: payload-type-50), which would then look like a duplicate.
            return
        jitter_buffer = self._audio_jitter_buffer if track_index else self._video_jitter_buffer
        self._cost += len(packet) // BYTES_PER_UNIT + jitter_buffer.held_count // _HELD_PACKETS_PER_UNIT
        for ordered, packet_arrival_us in jitter_buffer.feed(packet, arrival_us):
            track.feed(ordered, packet_arrival_us)

    def _handle_message(self, message: Message) -> None:
        client = self.client
        client.feed(message)
        if self._video is None and client.video is not None and client.transports:
            has_fields = h264.may_have_fields(client.video.codec, client.video.parameter_sets)
            self._video = VideoTrack(
                client.video, has_fields=has_fields, setup_us=self._arrival_us, stale_ssrcs=self._stale_ssrcs
            )
            transport = client.transports[0]
            if isinstance(transport, InterleavedChannels):
                self._video_channels = (transport.rtp, transport.rtcp)
        if self._audio is None and client.audio is not None and client.audio_track_index is not None:
            self._audio = AudioTrack(client.audio)
            transport = client.transports[client.audio_track_index]
            if isinstance(transport, InterleavedChannels):
                self._audio_channels = (transport.rtp, transport.rtcp)

    def keep_alive(self, now_us: int) -> None:
        """Queues a keep-alive and receiver reports if due, and gives up on packets missing for too long.

        Raises:
            RtspError: as `feed` does.
        """
        self.client.keep_alive(now_us)
        if self._video is None:
            return
        for packet, packet_arrival_us in self._video_jitter_buffer.drain(now_us):
            self._video.feed(packet, packet_arrival_us)
        if self._audio is not None:
            for packet, packet_arrival_us in self._audio_jitter_buffer.drain(now_us):
                self._audio.feed(packet, packet_arrival_us)
        if now_us < self._next_report_us:
            return
        self._next_report_us = now_us + REPORT_INTERVAL_US
        self._queue_rtcp(self._video.receiver_report(self._our_ssrc, now_us), 0, self._video_channels[1])
        if self._audio is not None and self.client.audio_track_index is not None:
            report = self._audio.receiver_report(self._our_ssrc, now_us)
            self._queue_rtcp(report, self.client.audio_track_index, self._audio_channels[1])

    def _queue_rtcp(self, report: bytes | None, track_index: int, channel: int) -> None:
        if report is None:
            return
        if channel < 0:
            self.pending_rtcp.append((track_index, report))
        else:
            self.client.send_buffer += bytes((0x24, channel)) + len(report).to_bytes(2, "big") + report

    def drain_video(self) -> list[Picture]:
        """Removes and returns the complete pictures."""
        return self._video.drain() if self._video is not None else []

    def drain_audio(self) -> list[AudioUnit]:
        """Removes and returns the complete audio units."""
        return self._audio.drain() if self._audio is not None else []

    def drain_remaining(self) -> list[Picture]:
        """Returns the complete pictures without waiting for missing packets; not the last one, which may go on."""
        if self._video is not None:
            with suppress(RtspError):
                for packet, packet_arrival_us in self._video_jitter_buffer.drain_all():
                    self._video.feed(packet, packet_arrival_us)
        return self.drain_video()

    def close(self) -> list[Picture]:
        """Ends the tracks; returns the remaining pictures, with the last one."""
        if self._video is None:
            return []
        with suppress(RtspError):  # the last picture exceeds a limit
            for packet, packet_arrival_us in self._video_jitter_buffer.drain_all():
                self._video.feed(packet, packet_arrival_us)
            self._video.close()
        return self._video.drain()
