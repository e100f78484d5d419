"""One sound stream's RTP and RTCP packets into access units. Whatever is wrong with it costs sound alone."""

from districam_common.contract import ticks
from districam_ingest.rtsp import rtp
from districam_ingest.rtsp.aac import AacDepacketizer
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.reporting import Reporting
from districam_ingest.rtsp.sdp import Audio
from districam_ingest.units import Sound

HELD_MOST = 4096


class SoundStream:
    """Takes packets in the order of a transport that keeps it.

    Attributes:
        payload_type: of its packets; others are left out.
    """

    def __init__(self, audio: Audio) -> None:
        self.payload_type, self._rate = audio.payload_type, audio.rate
        self._unit_ticks = audio.shape.unit_ticks if audio.shape else 0
        self._depacketizer = AacDepacketizer(audio.headers) if audio.headers else None
        self._reporting = Reporting(audio.rate)
        self._done: list[Sound] = []

    def push(self, packet: bytes, at_us: int) -> None:
        """An RTP packet; what is malformed is left out."""
        try:
            read = rtp.parse(packet)
            if read.payload_type == self.payload_type:
                self._take(read, at_us)
        except RtspError:
            if self._depacketizer is not None:
                self._depacketizer.lose()

    def _take(self, read: rtp.RtpPacket, at_us: int) -> None:
        reporting = self._reporting
        reporting.ssrc = read.ssrc
        missing = reporting.numbering.missing_before(read.seq, read.ssrc)
        pts = reporting.clock.take(read.timestamp)
        if self._depacketizer is None:  # G.711: a byte is a sample
            units, length = [read.payload] if read.payload else [], len(read.payload)
        else:
            if missing:
                self._depacketizer.lose()
            units, length = self._depacketizer.push(read.payload, read.timestamp), self._unit_ticks
        for n, unit in enumerate(units):
            rest = (len(units) - n) * length
            self._add(unit, pts + n * length, at_us - ticks.to_us(rest, self._rate))

    def _add(self, unit: bytes, pts: int, taken_us: int) -> None:
        if len(self._done) < HELD_MOST:
            self._done.append(Sound(unit, pts, taken_us, self._reporting.camera_us(pts)))

    def push_report(self, packet: bytes, at_us: int) -> None:
        """An RTCP packet. A farewell ends nothing: the pictures may go on."""
        self._reporting.push(packet, at_us)

    def report(self, our_ssrc: int, now_us: int) -> bytes | None:
        """The receiver report; None while nothing came."""
        return self._reporting.report(our_ssrc, now_us)

    def take(self) -> list[Sound]:
        """The access units that are done, each given once."""
        done, self._done = self._done, []
        return done
