"""A camera's connection from its first byte to its last, without the socket: what `Client` and `VideoStream` make of it."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from districam_ingest.codec import h264
from districam_ingest.rtsp.carriage import Channels
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.framing import Framer
from districam_ingest.rtsp.hearing import SoundStream
from districam_ingest.rtsp.message import Message, RtspError
from districam_ingest.rtsp.pace import BYTES_A_UNIT, MESSAGE_COST, OTHER_BYTES_A_UNIT
from districam_ingest.rtsp.reordering import Reordering
from districam_ingest.rtsp.stream import VideoStream
from districam_ingest.units import Picture, Sound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from districam_ingest.rtsp.framing import Item

REPORT_US: Final = 5_000_000
_STALE_MOST: Final = 8
RTCP_TYPES: Final = range(192, 224)
"""Where an RTP packet has marker and payload type (RFC 5761 section 4)."""
_HELD_A_UNIT: Final = 16
"""Packets that wait for others, among which one of UDP has to find its place."""


class Session:
    """Feeds a client and its stream.

    Args:
        our_ssrc: names us in receiver reports.

    Attributes:
        reports: track and receiver report, to be sent over UDP; whoever sends them clears them.
        is_behind: whether something of what was fed last is still to be taken, by `go_on`.
    """

    def __init__(self, client: Client, *, our_ssrc: int) -> None:
        self.client = client
        self._our_ssrc = our_ssrc
        self._framer = Framer()
        self._stream: VideoStream | None = None
        self._stale: set[int] = set()
        self._channels = (-1, -1)
        self._hearing: SoundStream | None = None
        self._sound_channels = (-1, -1)
        self._reordering, self._sound_reordering = Reordering(), Reordering()
        self.reports: list[tuple[int, bytes]] = []
        self._next_report_us = 0
        self.is_behind = False
        self._items: Iterator[Item] = iter(())
        self._fed_us = 0
        self._cost = 0

    @property
    def spent(self) -> int:
        """What all that came has cost, in the units of `pace`."""
        return self._cost + (self._stream.spent if self._stream is not None else 0)

    @property
    def is_over(self) -> bool:
        """Whether the camera has ended the stream in so many words."""
        return self._stream is not None and self._stream.is_over

    def feed(self, data: bytes, at_us: int, most: int = 1 << 40) -> None:
        """Bytes of the connection that arrived at `at_us`, monotonic. How they are split changes nothing.

        After some `most` units of `pace` it stops; the rest is for `go_on`, before anything else is fed.

        Raises:
            RtspError: the connection is of no use any more; pictures before the trouble are there to `take`.
        """

        def skim(data: bytes, at: int) -> int:
            stream = self._stream
            return at if stream is None else stream.skim(data, at, self._channels[0], at_us)

        self._cost += len(data) // BYTES_A_UNIT
        self._items, self._fed_us = self._framer.feed(data, skim), at_us
        self.go_on(most)

    def go_on(self, most: int = 1 << 40) -> None:
        """Takes what is left of what was fed; as `feed` does."""
        stream, (media, control) = self._stream, self._channels
        at_us, last = self._fed_us, self.spent + most
        for item in self._items:
            if isinstance(item, Message):
                self._cost += MESSAGE_COST
                self._take(item)
                stream, (media, control) = self._stream, self._channels
            elif stream is not None:
                channel, packet = item
                if channel == media:
                    stream.push(packet, at_us)
                else:
                    self._cost += 1 + len(packet) // OTHER_BYTES_A_UNIT
                    if channel == control:
                        stream.push_report(packet, at_us)
                    elif self._hearing is not None:
                        self._hear(channel, packet, at_us)
            else:
                self._cost += 1
                self._note_stale(item[1])
            if self.spent >= last:
                self.is_behind = True
                return
        self.is_behind = False

    def _note_stale(self, packet: bytes) -> None:
        """Notes the source of an RTP packet that came before anything was set up: it is of another session."""
        is_rtp = len(packet) >= 12 and packet[0] >> 6 == 2 and packet[1] not in RTCP_TYPES
        if is_rtp and len(self._stale) < _STALE_MOST:
            self._stale.add(int.from_bytes(packet[8:12], "big"))

    def _hear(self, channel: int, packet: bytes, at_us: int) -> None:
        assert self._hearing is not None
        media, control = self._sound_channels
        if channel == media:
            self._hearing.push(packet, at_us)
        elif channel == control:
            self._hearing.push_report(packet, at_us)

    def receive(self, packet: bytes, at_us: int, *, track: int, is_control: bool) -> None:
        """A datagram of RTP or RTCP, in any order; tracks are counted as `client.carried` does.

        Raises:
            RtspError: as `feed` does.
        """
        stream = self._hearing if track and track == self.client.hearing else None if track else self._stream
        if stream is None:
            return
        if is_control or track:
            self._cost += 1 + len(packet) // OTHER_BYTES_A_UNIT
        if is_control:
            stream.push_report(packet, at_us)
            return
        if packet[1:2] and packet[1] & 0x7F != stream.payload_type:
            # Not for the order of numbers: of Uniview cameras such a packet has the number of the next one of the video
            # (docs/cameras.md: payload-type-50), which would seem to have come already.
            return
        reordering = self._sound_reordering if track else self._reordering
        self._cost += len(packet) // BYTES_A_UNIT + reordering.held // _HELD_A_UNIT
        for ordered, came_us in reordering.push(packet, at_us):
            stream.push(ordered, came_us)

    def _take(self, message: Message) -> None:
        client = self.client
        client.take(message)
        if self._stream is None and client.video is not None and client.carried:
            has_fields = h264.may_have_fields(client.video.codec, client.video.sets)
            self._stream = VideoStream(
                client.video, has_fields=has_fields, since_us=self._fed_us, stale=self._stale
            )
            carried = client.carried[0]
            if isinstance(carried, Channels):
                self._channels = (carried.media, carried.control)
        if self._hearing is None and client.audio is not None and client.hearing is not None:
            self._hearing = SoundStream(client.audio)
            carried = client.carried[client.hearing]
            if isinstance(carried, Channels):
                self._sound_channels = (carried.media, carried.control)

    def keep_alive(self, now_us: int) -> None:
        """What is due goes to `client.out` and `reports`; packets that others waited for are given up.

        Raises:
            RtspError: as `feed` does.
        """
        self.client.keep_alive(now_us)
        if self._stream is None:
            return
        for packet, came_us in self._reordering.due(now_us):
            self._stream.push(packet, came_us)
        if self._hearing is not None:
            for packet, came_us in self._sound_reordering.due(now_us):
                self._hearing.push(packet, came_us)
        if now_us < self._next_report_us:
            return
        self._next_report_us = now_us + REPORT_US
        self._report(self._stream.report(self._our_ssrc, now_us), 0, self._channels[1])
        if self._hearing is not None and self.client.hearing is not None:
            report = self._hearing.report(self._our_ssrc, now_us)
            self._report(report, self.client.hearing, self._sound_channels[1])

    def _report(self, report: bytes | None, track: int, channel: int) -> None:
        if report is None:
            return
        if channel < 0:
            self.reports.append((track, report))
        else:
            self.client.out += bytes((0x24, channel)) + len(report).to_bytes(2, "big") + report

    def take(self) -> list[Picture]:
        """The pictures that are done."""
        return self._stream.take() if self._stream is not None else []

    def take_sound(self) -> list[Sound]:
        """The sound that is done."""
        return self._hearing.take() if self._hearing is not None else []

    def rest(self) -> list[Picture]:
        """The pictures that are done once no missing packet is waited for any more. The last one may go on: it stays out."""
        if self._stream is not None:
            with suppress(RtspError):
                for packet, came_us in self._reordering.flush():
                    self._stream.push(packet, came_us)
        return self.take()

    def end(self) -> list[Picture]:
        """The pictures that are left when nothing more comes."""
        if self._stream is None:
            return []
        with suppress(RtspError):  # the last is larger than any
            for packet, came_us in self._reordering.flush():
                self._stream.push(packet, came_us)
            self._stream.end()
        return self._stream.take()
