"""A camera's connection from its first byte to its last, without the socket: what `Client` and `VideoStream` make of it."""

from contextlib import suppress

from districam_ingest.core import h264
from districam_ingest.core.nal import BitstreamError
from districam_ingest.core.units import Picture
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.framing import Framer
from districam_ingest.rtsp.message import Message, RtspError
from districam_ingest.rtsp.sdp import Video
from districam_ingest.rtsp.stream import VideoStream

REPORT_US = 5_000_000


class Session:
    """Feeds a client and its stream.

    Args:
        our_ssrc: names us in receiver reports.
    """

    def __init__(self, client: Client, *, our_ssrc: int) -> None:
        self.client = client
        self._our_ssrc = our_ssrc
        self._framer = Framer()
        self._stream: VideoStream | None = None
        self._channels = (-1, -1)
        self._next_report_us = 0

    @property
    def is_over(self) -> bool:
        """Whether the camera has ended the stream in so many words."""
        return self._stream is not None and self._stream.is_over

    def feed(self, data: bytes, at_us: int) -> None:
        """Bytes of the connection that arrived at `at_us`, monotonic. How they are split changes nothing.

        Raises:
            RtspError: the connection is of no use any more; pictures before the trouble are there to `take`.
        """
        stream, (media, control) = self._stream, self._channels
        for item in self._framer.feed(data):
            if isinstance(item, Message):
                self._take(item)
                stream, (media, control) = self._stream, self._channels
            elif stream is not None:
                channel, packet = item
                if channel == media:
                    stream.push(packet, at_us)
                elif channel == control:
                    stream.push_report(packet, at_us)

    def _take(self, message: Message) -> None:
        client = self.client
        client.take(message)
        if self._stream is None and client.video is not None and client.channels is not None:
            self._stream = VideoStream(client.video, has_fields=may_have_fields(client.video))
            self._channels = client.channels

    def keep_alive(self, now_us: int) -> None:
        """What is due goes to `client.out`: requests and receiver reports."""
        self.client.keep_alive(now_us)
        if self._stream is None or now_us < self._next_report_us:
            return
        self._next_report_us = now_us + REPORT_US
        report = self._stream.report(self._our_ssrc, now_us)
        if report is not None:
            head = bytes((0x24, self._channels[1])) + len(report).to_bytes(2, "big")
            self.client.out += head + report

    def take(self) -> list[Picture]:
        """The pictures that are done."""
        return self._stream.take() if self._stream is not None else []

    def end(self) -> list[Picture]:
        """The pictures that are left when nothing more comes."""
        if self._stream is None:
            return []
        with suppress(RtspError):  # the last is larger than any
            self._stream.end()
        return self._stream.take()


def may_have_fields(video: Video) -> bool:
    """Whether pictures may be fields; so it is taken to be where no parameter set says no."""
    try:
        return video.codec == "h264" and h264.shape(video.sets).has_fields
    except BitstreamError:
        return True
