"""One video stream's RTP and RTCP packets into pictures."""

from collections.abc import Collection
from typing import Final

from districam_ingest.rtsp import rtp
from districam_ingest.rtsp.h264 import H264Depacketizer
from districam_ingest.rtsp.h265 import H265Depacketizer
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.pace import STEP_MOST
from districam_ingest.rtsp.pictures import Pictures
from districam_ingest.rtsp.reporting import Reporting
from districam_ingest.rtsp.sdp import Video
from districam_ingest.units import Picture

_DOLLAR: Final = 0x24
_HEAD: Final = 16
"""An interleaved frame's ("$", channel, length in two bytes), and the fixed one of RTP behind it."""
_MARK: Final = 0x80
STALE_US: Final = 2_000_000
_SKIMMED_MOST: Final = 256 << 10
"""Bytes in one go: whoever feeds looks then what they have cost."""


class VideoStream:
    """Takes packets in their order.

    What is malformed is left out and counts as a lost packet: one bad packet does not end a stream.
    A NAL unit that lacks a piece is left out, and its picture is damaged.

    Args:
        since_us: when the stream was set up.
        stale: sources (SSRC) that sent before. Cameras with an old LIVE555 go on with the session of a client that left without
            TEARDOWN, over the connection of the next one (docs/cameras.md: stale-session). Such a source is left out while
            another is heard; if for `STALE_US` none is, it is the stream's own.

    Attributes:
        payload_type: of its packets; others are left out.
        is_over: the camera said BYE.
    """

    def __init__(
        self, video: Video, *, has_fields: bool, since_us: int = 0, stale: Collection[int] = ()
    ) -> None:
        self.payload_type = video.payload_type
        self._plain = 0x8000 | video.payload_type  # version 2, no padding, extension, sources or marker
        self._depacketizer = H264Depacketizer() if video.codec == "h264" else H265Depacketizer()
        self._pictures = Pictures(video.codec, has_fields=has_fields)
        self._reporting = Reporting()
        self._timestamp: int | None = None
        self._at_us, self._stale = since_us, set(stale)
        self._packets = 0
        self.is_over = False

    @property
    def spent(self) -> int:
        """What all that came has cost, in the units of `pace`."""
        return self._packets + self._pictures.spent

    def push(self, packet: bytes, at_us: int) -> None:
        """An RTP packet.

        Raises:
            RtspError: a picture is larger than any.
        """
        self._packets += 1
        try:
            read = rtp.parse(packet)
        except RtspError:
            self._pictures.miss(1)
            return
        if read.payload_type != self.payload_type:
            return
        if self._stale and read.ssrc in self._stale:
            if at_us - self._at_us < STALE_US:
                return
            self._stale.discard(read.ssrc)
        missing = self._reporting.numbering.missing_before(read.seq, read.ssrc)
        self._reporting.ssrc, self._at_us = read.ssrc, at_us
        if read.timestamp != self._timestamp:
            self._begin(read.timestamp, at_us, missing)
        elif missing:
            self._depacketizer.lose()
            self._pictures.miss(missing)
        self._depacketize(read.payload, at_us, is_marked=read.is_marked)

    def skim(self, data: bytes, at: int, channel: int, at_us: int) -> int:
        """Takes interleaved packets from `at` on while each is whole, plain, and the next in order; gives where it stopped.

        After many of them it stops as well. What it does is what `push` would do for each. Nearly all packets are such: so they cost a third.

        Raises:
            RtspError: as `push` does.
        """
        numbering, source = self._reporting.numbering, _word(self._reporting.ssrc)
        depacketizer, plain, size = self._depacketizer, self._plain, len(data)
        stamp = _word(self._timestamp)
        before = numbering.highest
        last, dear = min(size, at + _SKIMMED_MOST), self._pictures.spent + STEP_MOST
        while last - at >= _HEAD:
            end = at + 4 + (data[at + 2] << 8 | data[at + 3])
            kind = data[at + 4] << 8 | data[at + 5]
            is_next = data[at + 6] << 8 | data[at + 7] == numbering.highest + 1 & 0xFFFF
            is_whole = at + _HEAD <= end <= size and data[at] == _DOLLAR
            is_ours = data[at + 1] == channel and data[at + 12 : at + _HEAD] == source
            if not is_whole or not is_ours or not is_next or kind & ~_MARK != plain:
                break
            is_other = data[at + 8 : at + 12] != stamp
            if is_other and self._pictures.spent >= dear:
                break
            numbering.highest, self._at_us = numbering.highest + 1, at_us
            if is_other:
                stamp = data[at + 8 : at + 12]
                self._begin(int.from_bytes(stamp, "big"), at_us, 0)
            if kind != plain or not depacketizer.go_on(data, at + _HEAD, end):
                self._depacketize(data[at + _HEAD : end], at_us, is_marked=kind != plain)
            at = end
        self._packets += numbering.highest - before
        return at

    def _depacketize(self, payload: bytes, at_us: int, *, is_marked: bool) -> None:
        nals: list[bytes] = []
        try:
            if not self._depacketizer.push(payload, nals):
                self._pictures.damage()
        except RtspError:
            self._pictures.miss(1)
        self._pictures.push(nals, at_us, is_marked=is_marked)

    def _begin(self, timestamp: int, at_us: int, missing: int) -> None:
        pictures = self._pictures
        rest: list[bytes] = []
        may_lack_its_end = missing and not pictures.is_marked
        is_whole = self._depacketizer.lose() if may_lack_its_end else self._depacketizer.flush(rest)
        pictures.extend(rest, at_us)
        if not is_whole:
            pictures.damage()
        left = pictures.miss_behind(missing) if missing else 0
        pts = self._reporting.clock.take(timestamp)
        pictures.begin(pts, at_us, self._reporting.camera_us(pts))
        self._timestamp = timestamp
        if missing:
            self._depacketizer.lose()
            pictures.miss_before(left)

    def push_report(self, packet: bytes, at_us: int) -> None:
        """An RTCP packet; what is malformed is left out."""
        self.is_over = self._reporting.push(packet, at_us) or self.is_over

    def report(self, our_ssrc: int, now_us: int) -> bytes | None:
        """The receiver report; None while nothing came."""
        return self._reporting.report(our_ssrc, now_us)

    def take(self) -> list[Picture]:
        """The pictures that are done, each given once."""
        done, self._pictures.done = self._pictures.done, []
        return done

    def end(self) -> None:
        """Nothing more comes."""
        rest: list[bytes] = []
        if not self._depacketizer.flush(rest):
            self._pictures.damage()
        self._pictures.extend(rest, self._at_us)
        self._pictures.end()


def _word(number: int | None) -> bytes:
    """As a packet says it; None is none that a packet says."""
    return b"" if number is None else number.to_bytes(4, "big")
