"""RTP and RTCP to one client over UDP, on a port pair of its own as cameras use."""

import asyncio
import socket
from contextlib import suppress

MAX_RTCP_BYTES = 1500


class UdpTransport:
    """Takes interleaved packets as a TCP connection does, and sends each as a datagram. A `MediaTransport`.

    A datagram that the operating system accepted counts as sent. A client that is gone or reads too slowly is not
    noticed, as usual with UDP.

    Args:
        number: of the RTSP connection.
        address: the client's host and its two ports.

    Attributes:
        ports, client_ports: the camera's and the client's, for RTP and RTCP.
        rtcp_packets_received: how many RTCP packets the client has sent.
    """

    def __init__(self, number: int, host: str, address: tuple[str, int, int]) -> None:
        self.number = number
        self.written_bytes = self.rtcp_packets_received = 0
        self.is_closed = False
        self._host, *self.client_ports = address
        self._sockets = _bind_port_pair(host)
        self.ports = tuple(int(one.getsockname()[1]) for one in self._sockets)
        asyncio.get_running_loop().add_reader(self._sockets[1], self._receive_rtcp)

    @property
    def flushed_bytes(self) -> int:
        return self.written_bytes

    def write(self, data: bytes) -> bool:
        """Sends packets to the RTP or RTCP port by their channel's parity; other bytes are sent as RTP."""
        if self.is_closed:
            return False
        self.written_bytes += len(data)
        while data:
            size = 4 + int.from_bytes(data[2:4], "big") if data[0] == 0x24 else len(data)
            channel, packet = (data[1] & 1, data[4:size]) if data[0] == 0x24 else (0, data[:1400])
            with suppress(OSError):
                self._sockets[channel].sendto(packet, (self._host, self.client_ports[channel]))
            data = data[size:]
        return True

    def abort(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        asyncio.get_running_loop().remove_reader(self._sockets[1])
        for one in self._sockets:
            one.close()

    def _receive_rtcp(self) -> None:
        with suppress(OSError):
            self._sockets[1].recv(MAX_RTCP_BYTES)
            self.rtcp_packets_received += 1


def _bind_port_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Binds an even port and the next one (RFC 3550, 11)."""
    for _ in range(100):
        first = _bound(host, 0)
        port = first.getsockname()[1]
        if port % 2 == 0:
            with suppress(OSError):
                return first, _bound(host, port + 1)
        first.close()
    raise OSError(0, "no two ports are free")


def _bound(host: str, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)  # noqa: FBT003  # its only parameter
        one.bind((host, port))
    except OSError:
        one.close()
        raise
    return one
