"""Turns a video track's RTP and RTCP packets into pictures."""

from collections.abc import Collection
from typing import Final

from districam_ingest.rtsp import rtp
from districam_ingest.rtsp.access_unit_assembler import AccessUnitAssembler
from districam_ingest.rtsp.h264_depacketizer import H264Depacketizer
from districam_ingest.rtsp.h265_depacketizer import H265Depacketizer
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.rate_limiter import MAX_STEP_UNITS
from districam_ingest.rtsp.rtcp_state import RtcpState
from districam_ingest.rtsp.sdp import VideoMedia
from districam_ingest.units import Picture

_INTERLEAVED_MAGIC: Final = 0x24
_HEADERS_BYTES: Final = 16
"""The interleaved header ("$", channel, length in two bytes) and RTP's fixed header."""
_MARKER_BIT: Final = 0x80
MAX_STALE_SOURCE_US: Final = 2_000_000
_MAX_BATCH_BYTES: Final = 256 << 10
"""Bytes processed at once, before the caller checks their cost."""


class VideoTrack:
    """Takes packets in sequence order.

    A malformed packet is dropped and counts as lost; it does not end the stream. An incomplete NAL unit is
    dropped, and its picture marked as damaged.

    Args:
        setup_us: when the track was set up.
        stale_ssrcs: SSRCs that sent before that. Cameras with an old LIVE555 continue the session of a client
            that left without TEARDOWN over the next client's connection (docs/cameras.md: stale-session).
            Such an SSRC is ignored while another one sends; if none does for `MAX_STALE_SOURCE_US`, it is
            taken for the track's own.

    Attributes:
        payload_type: RTP payload type of the track; packets of other types are dropped.
        has_bye: whether the camera has sent an RTCP BYE.
    """

    def __init__(
        self, video: VideoMedia, *, has_fields: bool, setup_us: int = 0, stale_ssrcs: Collection[int] = ()
    ) -> None:
        self.payload_type = video.payload_type
        self._plain_header = 0x8000 | video.payload_type  # version 2; no padding, extension, CSRC or marker
        self._depacketizer = H264Depacketizer() if video.codec == "h264" else H265Depacketizer()
        self._assembler = AccessUnitAssembler(video.codec, has_fields=has_fields)
        self._rtcp_state = RtcpState()
        self._timestamp: int | None = None
        self._last_arrival_us, self._stale_ssrcs = setup_us, set(stale_ssrcs)
        self._packet_count = 0
        self.has_bye = False

    @property
    def cost(self) -> int:
        """Cost units (`rate_limiter`) of everything received so far."""
        return self._packet_count + self._assembler.cost

    def feed(self, packet: bytes, arrival_us: int) -> None:
        """Takes an RTP packet.

        Raises:
            RtspError: a picture exceeds a limit of `AccessUnitAssembler`.
        """
        self._packet_count += 1
        try:
            rtp_packet = rtp.parse(packet)
        except RtspError:
            self._assembler.report_loss(1)
            return
        if rtp_packet.payload_type != self.payload_type:
            return
        if self._stale_ssrcs and rtp_packet.ssrc in self._stale_ssrcs:
            if arrival_us - self._last_arrival_us < MAX_STALE_SOURCE_US:
                return
            self._stale_ssrcs.discard(rtp_packet.ssrc)
        missing = self._rtcp_state.loss_detector.feed(rtp_packet.seq, rtp_packet.ssrc)
        self._rtcp_state.ssrc, self._last_arrival_us = rtp_packet.ssrc, arrival_us
        if rtp_packet.timestamp != self._timestamp:
            self._begin_timestamp(rtp_packet.timestamp, arrival_us, missing)
        elif missing:
            self._depacketizer.report_loss()
            self._assembler.report_loss(missing)
        self._depacketize(rtp_packet.payload, arrival_us, has_marker=rtp_packet.has_marker)

    def feed_batch(self, data: bytes, at: int, channel: int, arrival_us: int) -> int:
        """Fast path for interleaved packets from `at` on; returns the position of the first byte not consumed.

        It consumes packets that are complete, plain (no padding, extension or CSRC) and next in sequence, up
        to `_MAX_BATCH_BYTES`, with the result that `feed` has. Nearly all packets are such, and cost a third.

        Raises:
            RtspError: as `feed` does.
        """
        loss_detector, source = self._rtcp_state.loss_detector, _encode_u32(self._rtcp_state.ssrc)
        depacketizer, plain, size = self._depacketizer, self._plain_header, len(data)
        timestamp = _encode_u32(self._timestamp)
        before = loss_detector.highest_seq
        limit, cost_limit = min(size, at + _MAX_BATCH_BYTES), self._assembler.cost + MAX_STEP_UNITS
        while limit - at >= _HEADERS_BYTES:
            end = at + 4 + (data[at + 2] << 8 | data[at + 3])
            marker_and_type = data[at + 4] << 8 | data[at + 5]
            is_next = data[at + 6] << 8 | data[at + 7] == loss_detector.highest_seq + 1 & 0xFFFF
            is_whole = at + _HEADERS_BYTES <= end <= size and data[at] == _INTERLEAVED_MAGIC
            is_ours = data[at + 1] == channel and data[at + 12 : at + _HEADERS_BYTES] == source
            if not is_whole or not is_ours or not is_next or marker_and_type & ~_MARKER_BIT != plain:
                break
            is_new_timestamp = data[at + 8 : at + 12] != timestamp
            if is_new_timestamp and self._assembler.cost >= cost_limit:
                break
            loss_detector.highest_seq, self._last_arrival_us = loss_detector.highest_seq + 1, arrival_us
            if is_new_timestamp:
                timestamp = data[at + 8 : at + 12]
                self._begin_timestamp(int.from_bytes(timestamp, "big"), arrival_us, 0)
            if marker_and_type != plain or not depacketizer.try_feed_middle(data, at + _HEADERS_BYTES, end):
                self._depacketize(data[at + _HEADERS_BYTES : end], arrival_us, has_marker=marker_and_type != plain)
            at = end
        self._packet_count += loss_detector.highest_seq - before
        return at

    def _depacketize(self, payload: bytes, arrival_us: int, *, has_marker: bool) -> None:
        nals: list[bytes] = []
        try:
            if not self._depacketizer.feed(payload, nals):
                self._assembler.mark_damaged()
        except RtspError:
            self._assembler.report_loss(1)
        self._assembler.feed_packet(nals, arrival_us, has_marker=has_marker)

    def _begin_timestamp(self, timestamp: int, arrival_us: int, missing: int) -> None:
        assembler = self._assembler
        rest: list[bytes] = []
        may_lack_end = missing and not assembler.has_marker
        is_whole = self._depacketizer.report_loss() if may_lack_end else self._depacketizer.close_unit(rest)
        assembler.feed(rest, arrival_us)
        if not is_whole:
            assembler.mark_damaged()
        unattributed = assembler.report_loss_after(missing) if missing else 0
        pts = self._rtcp_state.unwrapper.feed(timestamp)
        assembler.begin_timestamp(pts, arrival_us, self._rtcp_state.camera_us(pts))
        self._timestamp = timestamp
        if missing:
            self._depacketizer.report_loss()
            assembler.report_loss_before(unattributed)

    def feed_rtcp(self, packet: bytes, arrival_us: int) -> None:
        """Takes an RTCP packet; a malformed one is dropped."""
        self.has_bye = self._rtcp_state.feed(packet, arrival_us) or self.has_bye

    def receiver_report(self, our_ssrc: int, now_us: int) -> bytes | None:
        """An RTCP receiver report; None before the first packet."""
        return self._rtcp_state.receiver_report(our_ssrc, now_us)

    def drain(self) -> list[Picture]:
        """Removes and returns the complete pictures."""
        done, self._assembler.completed = self._assembler.completed, []
        return done

    def close(self) -> None:
        """Completes the last picture."""
        rest: list[bytes] = []
        if not self._depacketizer.close_unit(rest):
            self._assembler.mark_damaged()
        self._assembler.feed(rest, self._last_arrival_us)
        self._assembler.close()


def _encode_u32(number: int | None) -> bytes:
    """A 32-bit header field's bytes; for None, bytes that no packet matches."""
    return b"" if number is None else number.to_bytes(4, "big")
