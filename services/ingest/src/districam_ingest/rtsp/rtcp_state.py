"""RTCP state of one track: the camera's wall clock, and our receiver reports (RFC 3550 section 6.4)."""

from districam_common.contract import ticks
from districam_ingest.rtsp import rtcp, rtp
from districam_ingest.rtsp.message import RtspError


class RtcpState:
    """RTCP state of one track; the caller updates the attributes from its RTP packets.

    Attributes:
        ssrc: SSRC of the track's packets; None before the first one.
        loss_detector, unwrapper: state of their sequence numbers and timestamps.
    """

    def __init__(self, clock_rate: int = ticks.VIDEO_RATE) -> None:
        self.ssrc: int | None = None
        self.loss_detector, self.unwrapper = rtp.LossDetector(), rtp.TimestampUnwrapper()
        self._clock_rate = clock_rate
        self._last_sr: tuple[rtcp.SenderReport, int] | None = None
        # SSRC of the last sender report, its RTP timestamp in unwrapped ticks, its wall clock in µs UTC.
        self._clock_mapping: tuple[int, int, int] | None = None

    def camera_us(self, pts: int) -> int | None:
        """The camera's wall clock at `pts`, µs UTC; None before a sender report of the track's SSRC.

        Timestamps of another SSRC have another origin: some cameras report on an SSRC that no packet has
        (docs/cameras.md: foreign-report).
        """
        if self._clock_mapping is None or self._clock_mapping[0] != self.ssrc:
            return None
        _, reported_pts, reported_us = self._clock_mapping
        return reported_us + ticks.to_us(pts - reported_pts, self._clock_rate)

    def feed(self, packet: bytes, arrival_us: int) -> bool:
        """Takes an RTCP packet; True if it is a BYE of the track's SSRC. Malformed packets are dropped."""
        try:
            reports = rtcp.parse(packet)
        except RtspError:
            return False
        sender = reports.sender_report
        if sender is not None and self.ssrc in {None, sender.ssrc}:
            self._clock_mapping = (sender.ssrc, self.unwrapper.unwrap(sender.rtp_timestamp), sender.camera_us)
            self._last_sr = (sender, arrival_us)
        bye_ssrcs = reports.bye_ssrcs
        return bye_ssrcs is not None and (self.ssrc is None or not bye_ssrcs or self.ssrc in bye_ssrcs)

    def receiver_report(self, our_ssrc: int, now_us: int) -> bytes | None:
        """An RTCP receiver report; None before the first packet."""
        if self.ssrc is None:
            return None
        last_sr, since_us = 0, 0
        if self._last_sr is not None:
            last_sr, since_us = self._last_sr[0].ntp_middle, now_us - self._last_sr[1]
        reception = rtcp.ReceptionReport(
            self.ssrc, self.loss_detector.highest_seq, self.loss_detector.packets_lost, last_sr, since_us
        )
        return rtcp.encode_receiver_report(our_ssrc, reception)
