"""RTCP of one source: the camera's clock out of its sender reports, and our receiver reports back to it (RFC 3550)."""

from districam_common.contract import ticks
from districam_ingest.rtsp import rtcp, rtp
from districam_ingest.rtsp.message import RtspError


class Reporting:
    """Beside one track's packets.

    Attributes:
        ssrc: the source that is heard; None before its first packet.
        numbering, clock: of its packets, kept by whoever takes these.
    """

    def __init__(self, rate: int = ticks.VIDEO_RATE) -> None:
        self.ssrc: int | None = None
        self.numbering, self.clock = rtp.Numbering(), rtp.Unwrapped()
        self._rate = rate
        self._sender: tuple[rtcp.SenderReport, int] | None = None
        # The source that reported, its media clock in unwrapped ticks, its wall clock in µs.
        self._reported: tuple[int, int, int] | None = None

    def camera_us(self, pts: int) -> int | None:
        """What the camera's wall clock showed then; None until the source that is heard has reported it.

        Another source's timestamps have another origin: some cameras report of an SSRC that no packet has
        (docs/cameras.md: foreign-report).
        """
        if self._reported is None or self._reported[0] != self.ssrc:
            return None
        _, reported_pts, reported_us = self._reported
        return reported_us + ticks.to_us(pts - reported_pts, self._rate)

    def push(self, packet: bytes, at_us: int) -> bool:
        """Takes an RTCP packet; True if the source that is heard says BYE. What is malformed is left out."""
        try:
            reports = rtcp.parse(packet)
        except RtspError:
            return False
        sender = reports.sender
        if sender is not None and self.ssrc in {None, sender.ssrc}:
            self._reported = (sender.ssrc, self.clock.near(sender.timestamp), sender.camera_us)
            self._sender = (sender, at_us)
        leaving = reports.leaving
        return leaving is not None and (self.ssrc is None or not leaving or self.ssrc in leaving)

    def report(self, our_ssrc: int, now_us: int) -> bytes | None:
        """The receiver report; None while nothing came."""
        if self.ssrc is None:
            return None
        middle, since_us = 0, 0
        if self._sender is not None:
            middle, since_us = self._sender[0].middle, now_us - self._sender[1]
        seen = rtcp.Reception(self.ssrc, self.numbering.highest, self.numbering.lost, middle, since_us)
        return rtcp.receiver_report(our_ssrc, seen)
