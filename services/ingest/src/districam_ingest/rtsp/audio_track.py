"""Turns an audio track's RTP and RTCP packets into audio units. Malformed packets never affect the video."""

from districam_common.contract import ticks
from districam_ingest.rtsp import rtp
from districam_ingest.rtsp.aac_depacketizer import AacDepacketizer
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.rtcp_state import RtcpState
from districam_ingest.rtsp.sdp import AudioMedia
from districam_ingest.units import AudioUnit

MAX_PENDING_UNITS = 4096


class AudioTrack:
    """Takes packets in sequence order.

    Attributes:
        payload_type: RTP payload type of the track; packets of other types are dropped.
    """

    def __init__(self, audio: AudioMedia) -> None:
        self.payload_type, self._clock_rate = audio.payload_type, audio.clock_rate
        self._unit_ticks = audio.parameters.unit_ticks if audio.parameters else 0
        self._depacketizer = AacDepacketizer(audio.au_headers) if audio.au_headers else None
        self._rtcp_state = RtcpState(audio.clock_rate)
        self._done: list[AudioUnit] = []

    def feed(self, packet: bytes, arrival_us: int) -> None:
        """Takes an RTP packet; a malformed one is dropped."""
        try:
            rtp_packet = rtp.parse(packet)
            if rtp_packet.payload_type == self.payload_type:
                self._depacketize(rtp_packet, arrival_us)
        except RtspError:
            if self._depacketizer is not None:
                self._depacketizer.report_loss()

    def _depacketize(self, rtp_packet: rtp.RtpPacket, arrival_us: int) -> None:
        rtcp_state = self._rtcp_state
        rtcp_state.ssrc = rtp_packet.ssrc
        missing = rtcp_state.loss_detector.feed(rtp_packet.seq, rtp_packet.ssrc)
        pts = rtcp_state.unwrapper.feed(rtp_packet.timestamp)
        if self._depacketizer is None:  # G.711: one byte per sample (RFC 3551 section 4.5.14)
            units, length = [rtp_packet.payload] if rtp_packet.payload else [], len(rtp_packet.payload)
        else:
            if missing:
                self._depacketizer.report_loss()
            units, length = (self._depacketizer.feed(rtp_packet.payload, rtp_packet.timestamp), self._unit_ticks)
        for n, unit in enumerate(units):
            rest = (len(units) - n) * length
            self._append(unit, pts + n * length, arrival_us - ticks.to_us(rest, self._clock_rate))

    def _append(self, unit: bytes, pts: int, captured_us: int) -> None:
        if len(self._done) < MAX_PENDING_UNITS:
            self._done.append(AudioUnit(unit, pts, captured_us, self._rtcp_state.camera_us(pts)))

    def feed_rtcp(self, packet: bytes, arrival_us: int) -> None:
        """Takes an RTCP packet. BYE is ignored: the video may go on."""
        self._rtcp_state.feed(packet, arrival_us)

    def receiver_report(self, our_ssrc: int, now_us: int) -> bytes | None:
        """An RTCP receiver report; None before the first packet."""
        return self._rtcp_state.receiver_report(our_ssrc, now_us)

    def drain(self) -> list[AudioUnit]:
        """Removes and returns the complete units."""
        done, self._done = self._done, []
        return done
