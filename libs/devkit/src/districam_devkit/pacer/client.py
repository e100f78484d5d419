"""One client of the pacer: its RTSP requests, and the pictures being sent to it."""

import contextlib
import re
import socket
import time

from districam_devkit.pacer.prebuilt_clip import SSRC, Picture, PrebuiltClip
from districam_devkit.simcam import rtp

REPORT_INTERVAL_PICTURES = 125
"""Pictures between two sender reports."""
_REQUEST = re.compile(rb"([A-Z_]+) (\S+) RTSP/1\.0\r\n(.*?)\r\n\r\n", re.DOTALL)
_CSEQ = re.compile(rb"(?im)^CSeq: *(\d+)")
_MAX_RECV_BYTES = 4096


class Client:
    """Sends at once; bytes that the socket does not accept wait in `_unsent`.

    Attributes:
        camera_id: the last part of the path that it requested.
        units: pictures sent completely, from the first keyframe on.
        late_s: lateness of the last packet, which the owner adds to its histogram.
    """

    def __init__(self, connection: socket.socket, clip: PrebuiltClip) -> None:
        self.connection, self._clip = connection, clip
        self.camera_id = ""
        self.is_playing = self.is_disconnected = self.is_stopping = False
        self.units = self.sent_bytes = 0
        self._received = b""
        self._unsent = bytearray()
        self._number = 0  # the picture's number; its position in the clip is `_camera`'s
        self._picture_index = self._index = self._seq = self._packets = self._octets = 0
        self._due_s = 0.0
        self._has_sent_keyframe = False

    def receive(self) -> None:
        """Reads and answers requests; receiver reports are discarded."""
        try:
            data = self.connection.recv(_MAX_RECV_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_disconnected = True
            return
        self._received += data
        while self._received[:1] == b"$" and len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[2:4], "big")
            if len(self._received) < end:
                return
            self._received = self._received[end:]
        for asked in _REQUEST.finditer(self._received):
            self._handle_request(asked)
        self._received = b"" if self._received.endswith(b"\r\n\r\n") else self._received[-_MAX_RECV_BYTES:]

    def _handle_request(self, request: re.Match[bytes]) -> None:
        method, url, head = request[1].decode(), request[2].decode(), request[3]
        found = _CSEQ.search(head)
        lines = ["RTSP/1.0 200 OK", f"CSeq: {found[1].decode() if found else 0}", "Session: 1;timeout=60"]
        body = b""
        match method:
            case "OPTIONS":
                lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
            case "DESCRIBE":
                self.camera_id, body = url.rstrip("/").rpartition("/")[2], self._clip.sdp
                lines += ["Content-Type: application/sdp", f"Content-Base: {url}/", f"Content-Length: {len(body)}"]
            case "SETUP":
                lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            case "PLAY":
                self.is_playing = True
            case "TEARDOWN":
                self.is_disconnected = True
            case _:
                pass
        self._send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def start(self, due_s: float, picture_index: int) -> float:
        """Schedules the clip's picture `picture_index` as the first one, at `due_s`; returns its due time."""
        self._due_s, self._picture_index = due_s, picture_index % len(self._clip.pictures)
        return due_s

    def send_next_packet(self, spread: float) -> float | None:
        """Sends the packet that is due; returns when the next one is due, or None if the stream has ended."""
        clip, picture = self._clip, self._clip.pictures[self._picture_index]
        if self._index == 0 and self._number % REPORT_INTERVAL_PICTURES == 0:
            self._send(self._report())
        packet = picture.stamp(self._index, self._seq, self._number * clip.ticks)
        self._send(packet)
        self._seq, self._index = self._seq + 1, self._index + 1
        count = len(picture.packets)
        if self._index < count:
            return self._due_s + self._index * clip.interval_s * spread / count
        self._end_picture(picture)
        return None if self.is_stopping else self._due_s

    def _end_picture(self, picture: Picture) -> None:
        clip = self._clip
        self._has_sent_keyframe = self._has_sent_keyframe or picture.is_keyframe
        self.units += self._has_sent_keyframe
        self._packets += len(picture.packets)
        self._number, self._index = self._number + 1, 0
        self._picture_index = (self._picture_index + 1) % len(clip.pictures)
        self._due_s += clip.interval_s

    def _report(self) -> bytes:
        return rtp.sender_report(
            channel=1,
            ssrc=SSRC,
            now_us=time.time_ns() // 1000,
            timestamp=self._number * self._clip.ticks & 0xFFFF_FFFF,
            packets=self._packets,
            octets=self.sent_bytes,
        )

    def _send(self, data: bytes | memoryview) -> None:
        self.sent_bytes += len(data)
        if self._unsent:
            self._unsent += data
            data = bytes(self._unsent)
        try:
            done = self.connection.send(data)
        except BlockingIOError:
            done = 0
        except OSError:
            self.is_disconnected = True
            return
        self._unsent = bytearray(data[done:]) if done < len(data) else bytearray()

    def flush_and_close(self) -> None:
        """Sends what is still unsent, for some seconds at most, then closes the connection.

        Reads pending receiver reports first: closing with unread bytes sends a reset, and the client may lose
        sent data.
        """
        self.connection.settimeout(5)
        try:
            self.connection.sendall(self._unsent)
        except OSError:
            self.is_disconnected = True
        with contextlib.suppress(OSError):
            self.connection.setblocking(False)  # noqa: FBT003  # its only parameter
            while self.connection.recv(_MAX_RECV_BYTES):
                pass
        self.connection.close()
