"""One sound stream's RTP and RTCP packets into access units. Whatever is wrong with it costs sound alone."""

from dataclasses import replace

from districam_common import ticks
from districam_ingest.core.units import Sound
from districam_ingest.rtsp import rtcp, rtp
from districam_ingest.rtsp.aac import AacDepacketizer
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.sdp import Audio

HELD_MOST = 4096


class SoundStream:
    """Takes packets in the order of a transport that keeps it."""

    def __init__(self, audio: Audio) -> None:
        self._payload_type, self._rate = audio.payload_type, audio.rate
        self._unit_ticks = audio.shape.unit_ticks if audio.shape else 0
        self._depacketizer = AacDepacketizer(audio.headers) if audio.headers else None
        self._numbering = rtp.Numbering()
        self._clock = rtp.Unwrapped()
        self._ssrc: int | None = None
        self._camera: tuple[int, int] | None = None  # its clock in unwrapped ticks, wall clock in µs
        self._sender: tuple[rtcp.SenderReport, int] | None = None
        self._done: list[Sound] = []

    def push(self, packet: bytes, at_us: int) -> None:
        """An RTP packet; what is malformed is left out."""
        try:
            read = rtp.parse(packet)
            if read.payload_type == self._payload_type:
                self._take(read, at_us)
        except RtspError:
            if self._depacketizer is not None:
                self._depacketizer.lose()

    def _take(self, read: rtp.RtpPacket, at_us: int) -> None:
        self._ssrc = read.ssrc
        missing = self._numbering.missing_before(read.seq, read.ssrc)
        pts = self._clock.take(read.timestamp)
        if self._depacketizer is None:  # G.711: a byte is a sample
            units, length = [read.payload] if read.payload else [], len(read.payload)
        else:
            if missing:
                self._depacketizer.lose()
            units, length = self._depacketizer.push(read.payload, read.timestamp), self._unit_ticks
        for n, unit in enumerate(units):
            rest = (len(units) - n) * length
            self._add(Sound(unit, pts + n * length, at_us - ticks.to_us(rest, self._rate)))

    def _add(self, sound: Sound) -> None:
        if self._camera is not None:
            reported_pts, reported_us = self._camera
            camera_us = reported_us + ticks.to_us(sound.pts - reported_pts, self._rate)
            sound = replace(sound, camera_us=camera_us)
        if len(self._done) < HELD_MOST:
            self._done.append(sound)

    def push_report(self, packet: bytes, at_us: int) -> None:
        """An RTCP packet; what is malformed is left out, and so is a farewell: the pictures may go on."""
        try:
            sender = rtcp.parse(packet).sender
        except RtspError:
            return
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

    def take(self) -> list[Sound]:
        """The access units that are done, each given once."""
        done, self._done = self._done, []
        return done
