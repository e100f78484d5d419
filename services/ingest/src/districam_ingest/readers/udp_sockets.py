"""The native reader's UDP sockets: a pair for each track, read on the tick without waiting.

A socket's buffer must hold what arrives between two ticks, at worst at a camera's 100 Mbit/s. The system
grants up to its limit (Linux: `net.core.rmem_max`), and ticks are as short as the granted size requires.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress

from districam_ingest.rtsp.transport_header import InterleavedChannels, ServerPorts

RECEIVE_BUFFER_BYTES = 4 << 20
MIN_TICK_US, MAX_TICK_US = 15_000, 100_000
MAX_PACKETS_PER_TICK = 8192
"""Per socket, so that no camera starves the others."""
_BUFFER_BYTES_PER_US = 12.5 * 2304 / 1400
"""Linux charges 2,304 bytes of buffer for a packet of 1,400; 100 Mbit/s are 12.5 bytes per microsecond."""
_MAX_PORT_ATTEMPTS = 50
_PUNCH_PACKETS = (bytes((0x80, 0x7F)) + bytes(10), bytes((0x80, 201, 0, 1)) + bytes(4))
"""An RTP packet without payload and an empty receiver report: sent to the camera, they open NATs."""

Datagram = tuple[int, bool, bytes]
"""Track index, whether it is RTCP, and the packet."""


class UdpSockets:
    """UDP sockets of one RTSP session. Datagrams from other addresses than the camera's are dropped.

    Args:
        local_address, camera_address: IP addresses of the RTSP connection's ends.

    Attributes:
        tick_us: the longest time between two reads.
    """

    def __init__(self, local_address: str, camera_address: str) -> None:
        self._local_address, self._camera_address = local_address, camera_address
        self._allowed_sources = {camera_address}
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._server_ports: list[ServerPorts] = []
        self.tick_us = MAX_TICK_US

    def open_pair(self) -> tuple[int, int]:
        """Opens another track's sockets: an even port and the next (RFC 3550 section 11). Raises OSError."""
        family = socket.AF_INET6 if ":" in self._local_address else socket.AF_INET
        for _ in range(_MAX_PORT_ATTEMPTS):
            first = _bind_socket(family, self._local_address, 0)
            port = int(first.getsockname()[1])
            with suppress(OSError):
                if port % 2 == 0:
                    self._pairs.append((first, _bind_socket(family, self._local_address, port + 1)))
                    self._set_receive_buffer(first)
                    return port, port + 1
            first.close()
        raise OSError(0, f"no free pair of UDP ports found in {_MAX_PORT_ATTEMPTS} attempts")

    def set_transports(self, transports: list[InterleavedChannels | ServerPorts]) -> None:
        """Sets the tracks' transports. Datagrams from their `source` are accepted; nothing is sent there."""
        if len(transports) == len(self._server_ports):
            return
        self._server_ports = [one for one in transports if isinstance(one, ServerPorts)]
        self._allowed_sources |= {one.source for one in self._server_ports if one.source}
        self.punch()

    def punch(self) -> None:
        """Sends a packet to each of the camera's ports, which opens NATs and firewalls on the way."""
        for track, ports in enumerate(self._server_ports):
            for one, port, packet in zip(self._pairs[track], (ports.rtp, ports.rtcp), _PUNCH_PACKETS, strict=True):
                self._send(one, packet, port)

    def send_rtcp(self, track: int, packet: bytes) -> None:
        """Sends an RTCP packet of a track, unreliably."""
        self._send(self._pairs[track][1], packet, self._server_ports[track].rtcp)

    def receive_nowait(self, buffer: memoryview) -> Iterator[Datagram]:
        """Yields the datagrams that have arrived. The caller must exhaust the iterator."""
        for track, pair in enumerate(self._pairs):
            for is_rtcp, one in ((False, pair[0]), (True, pair[1])):
                for packet in self._receive_from(one, buffer):
                    yield track, is_rtcp, packet

    def close(self) -> None:
        """Closes the sockets. Idempotent."""
        for one in (one for pair in self._pairs for one in pair):
            one.close()
        self._pairs = []

    def _receive_from(self, one: socket.socket, buffer: memoryview) -> Iterator[bytes]:
        for _ in range(MAX_PACKETS_PER_TICK):
            try:
                size, address = one.recvfrom_into(buffer)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error about what we sent: the camera's port is closed
                continue
            if address[0] in self._allowed_sources:
                yield bytes(buffer[:size])

    def _send(self, one: socket.socket, packet: bytes, port: int) -> None:
        """Sends unless `port` is 0; errors are ignored, since RTCP is best effort."""
        if port:
            with suppress(OSError):
                one.sendto(packet, (self._camera_address, port))

    def _set_receive_buffer(self, one: socket.socket) -> None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        granted = one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        tick_us = round(granted / _BUFFER_BYTES_PER_US)
        self.tick_us = min(self.tick_us, max(MIN_TICK_US, tick_us))


def _bind_socket(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)  # noqa: FBT003  # its only parameter
        one.bind((host, port))
    except OSError:
        one.close()
        raise
    return one
