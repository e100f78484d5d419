"""One video stream's RTP and RTCP packets into pictures."""

from districam_ingest.core.units import Picture
from districam_ingest.rtsp import rtcp, rtp
from districam_ingest.rtsp.h264 import H264Depacketizer
from districam_ingest.rtsp.h265 import H265Depacketizer
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.pictures import Pictures
from districam_ingest.rtsp.sdp import Video


class VideoStream:
    """Takes packets in the order of a transport that keeps it (TCP).

    What is malformed is left out and counts as a lost packet: one bad packet does not end a stream.

    Attributes:
        is_over: the camera said BYE.
    """

    def __init__(self, video: Video, *, has_fields: bool) -> None:
        self._payload_type = video.payload_type
        self._depacketizer = H264Depacketizer() if video.codec == "h264" else H265Depacketizer()
        self._pictures = Pictures(video.codec, has_fields=has_fields)
        self._numbering = rtp.Numbering()
        self._clock = rtp.Unwrapped()
        self._timestamp: int | None = None
        self._ssrc: int | None = None
        self._camera: tuple[int, int] | None = None  # media clock in unwrapped ticks, wall clock in µs
        self._sender: tuple[rtcp.SenderReport, int] | None = None
        self._at_us = 0
        self.is_over = False

    def push(self, packet: bytes, at_us: int) -> None:
        """An RTP packet.

        Raises:
            RtspError: a picture is larger than any.
        """
        try:
            read = rtp.parse(packet)
        except RtspError:
            self._pictures.miss(1)
            return
        if read.payload_type != self._payload_type:
            return
        missing = self._numbering.missing_before(read.seq, read.ssrc)
        nals: list[bytes] = []
        self._ssrc, self._at_us = read.ssrc, at_us
        if read.timestamp != self._timestamp:
            missing = self._begin(read.timestamp, at_us, missing)
        if missing:
            self._depacketizer.flush(nals)
            self._pictures.miss(missing)
        try:
            self._depacketizer.push(read.payload, nals)
        except RtspError:
            self._pictures.miss(1)
        self._pictures.push(nals, at_us, is_marked=read.is_marked)

    def _begin(self, timestamp: int, at_us: int, missing: int) -> int:
        rest: list[bytes] = []
        self._depacketizer.flush(rest)
        if rest:
            self._pictures.push(rest, at_us, is_marked=False)
        if missing:
            missing = self._pictures.miss_between(missing)
        pts = self._clock.take(timestamp)
        self._pictures.begin(pts, at_us, self._camera_us(pts))
        self._timestamp = timestamp
        return missing

    def _camera_us(self, pts: int) -> int | None:
        if self._camera is None:
            return None
        reported_pts, reported_us = self._camera
        return reported_us + (pts - reported_pts) * 100 // 9  # 90 kHz

    def push_report(self, packet: bytes, at_us: int) -> None:
        """An RTCP packet; what is malformed is left out."""
        try:
            reports = rtcp.parse(packet)
        except RtspError:
            return
        self.is_over = self.is_over or reports.is_bye
        sender = reports.sender
        if sender is not None and self._ssrc in {None, sender.ssrc}:
            self._camera = (self._clock.near(sender.timestamp), sender.camera_us)
            self._sender = (sender, at_us)

    def report(self, our_ssrc: int, now_us: int) -> bytes | None:
        """The receiver report; None while nothing came."""
        if self._ssrc is None:
            return None
        middle, since_us = 0, 0
        if self._sender is not None:
            middle, since_us = self._sender[0].middle, now_us - self._sender[1]
        seen = rtcp.Reception(self._ssrc, self._numbering.highest, self._numbering.lost, middle, since_us)
        return rtcp.receiver_report(our_ssrc, seen)

    def take(self) -> list[Picture]:
        """The pictures that are done, each given once."""
        done, self._pictures.done = self._pictures.done, []
        return done

    def end(self) -> None:
        """Nothing more comes."""
        rest: list[bytes] = []
        self._depacketizer.flush(rest)
        self._pictures.push(rest, self._at_us, is_marked=False)
        self._pictures.end()
