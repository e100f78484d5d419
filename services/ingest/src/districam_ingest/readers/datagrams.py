"""The native reader's UDP sockets: a pair for each track, drained on the tick, never waited for.

A socket's buffer must hold what comes between two ticks, in the worst case at a camera's full 100 Mbit/s. It is asked
for generously; the system grants what it allows (Linux: `net.core.rmem_max`), and ticks are as short as that demands.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress

from districam_ingest.rtsp.carriage import Channels, Ports

WANTED_BYTES = 4 << 20
TICK_LEAST_US, TICK_MOST_US = 15_000, 100_000
PACKETS_MOST = 8192
"""Of one socket in one tick: no camera keeps the others waiting."""
_CHARGED_BYTES_A_US = 12.5 * 2304 / 1400
"""Linux charges 2,304 bytes for a packet of 1,400; 100 Mbit/s are 12.5 bytes a microsecond."""
_PAIRS_TRIED = 50
_PUNCH = (bytes((0x80, 0x7F)) + bytes(10), bytes((0x80, 201, 0, 1)) + bytes(4))
"""An RTP packet without payload, and a receiver report of nothing: they open the way back through a NAT."""

Datagram = tuple[int, bool, bytes]
"""Track, whether it is RTCP, and the packet."""


class Datagrams:
    """UDP beside one RTSP connection. What does not come from the camera is left out.

    Args:
        ours, camera: the two ends' addresses of the RTSP connection.

    Attributes:
        tick_us: sockets are to be drained so often at least.
    """

    def __init__(self, ours: str, camera: str) -> None:
        self._ours, self._camera = ours, camera
        self._senders = {camera}
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._theirs: list[Ports] = []
        self.tick_us = TICK_MOST_US

    def open_pair(self) -> tuple[int, int]:
        """The ports of a further track: an even one and the next (RFC 3550 section 11). Raises OSError."""
        family = socket.AF_INET6 if ":" in self._ours else socket.AF_INET
        for _ in range(_PAIRS_TRIED):
            first = _bound(family, self._ours, 0)
            port = int(first.getsockname()[1])
            with suppress(OSError):
                if port % 2 == 0:
                    self._pairs.append((first, _bound(family, self._ours, port + 1)))
                    self._size(first)
                    return port, port + 1
            first.close()
        raise OSError(0, "no two UDP ports are free")

    def agree(self, carried: list[Channels | Ports]) -> None:
        """What the camera said of each track so far. Its `source` is believed of what comes, and never sent to."""
        if len(carried) == len(self._theirs):
            return
        self._theirs = [one for one in carried if isinstance(one, Ports)]
        self._senders |= {one.source for one in self._theirs if one.source}
        self.punch()

    def punch(self) -> None:
        """Opens the way back, and keeps it open."""
        for track, ports in enumerate(self._theirs):
            for one, port, packet in zip(
                self._pairs[track], (ports.media, ports.control), _PUNCH, strict=True
            ):
                self._send(one, packet, port)

    def report(self, track: int, report: bytes) -> None:
        """Sends an RTCP packet."""
        self._send(self._pairs[track][1], report, self._theirs[track].control)

    def drain(self, buffer: memoryview) -> Iterator[Datagram]:
        """What has come; to be exhausted."""
        for track, pair in enumerate(self._pairs):
            for is_control, one in ((False, pair[0]), (True, pair[1])):
                for packet in self._packets(one, buffer):
                    yield track, is_control, packet

    def close(self) -> None:
        """Also twice."""
        for one in (one for pair in self._pairs for one in pair):
            one.close()
        self._pairs = []

    def _packets(self, one: socket.socket, buffer: memoryview) -> Iterator[bytes]:
        for _ in range(PACKETS_MOST):
            try:
                size, address = one.recvfrom_into(buffer)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error for what we sent: the camera's port is closed
                continue
            if address[0] in self._senders:
                yield bytes(buffer[:size])

    def _send(self, one: socket.socket, packet: bytes, port: int) -> None:
        """RTCP is best effort."""
        if port:
            with suppress(OSError):
                one.sendto(packet, (self._camera, port))

    def _size(self, one: socket.socket) -> None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WANTED_BYTES)
        granted = one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        tick_us = round(granted / _CHARGED_BYTES_A_US)
        self.tick_us = min(self.tick_us, max(TICK_LEAST_US, tick_us))


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)  # noqa: FBT003  # its only parameter
        one.bind((host, port))
    except OSError:
        one.close()
        raise
    return one
