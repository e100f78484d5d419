"""Writes and parses the `Transport` header of SETUP (RFC 2326 section 12.39)."""

import re
from dataclasses import dataclass

_INTERLEAVED = re.compile(r"interleaved\s*=\s*(\d{1,3})(?:-(\d{1,3}))?", re.IGNORECASE)
_SERVER_PORT = re.compile(r"server_port\s*=\s*(\d{1,5})(?:-(\d{1,5}))?", re.IGNORECASE)
_SOURCE = re.compile(r"source\s*=\s*([^;,\s]+)", re.IGNORECASE)
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class InterleavedChannels:
    """Transport over the RTSP connection: the channels of RTP and RTCP."""

    rtp: int
    rtcp: int


@dataclass(frozen=True, slots=True)
class ServerPorts:
    """Transport over UDP.

    Attributes:
        rtp, rtcp: the server's ports; 0 if not given.
        source: address from which the server says it sends; None if not given.
    """

    rtp: int = 0
    rtcp: int = 0
    source: str | None = None


def format_transport(channel: int, ports: tuple[int, int] | None) -> str:
    """SETUP's Transport header: UDP to our `ports`, or, if None, interleaved on `channel`, `channel + 1`."""
    if ports is None:
        return f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"
    return f"RTP/AVP;unicast;client_port={ports[0]}-{ports[1]}"


def parse_transport(header: str, channel: int, *, over_udp: bool) -> InterleavedChannels | ServerPorts | None:
    """The server's transport; None if it is not the one asked for. An empty header accepts what was asked."""
    is_tcp = "TCP" in header.upper() or "interleaved" in header.lower()
    if over_udp:
        return None if is_tcp or "multicast" in header.lower() else _parse_server_ports(header)
    if header and not is_tcp:
        return None
    found = _INTERLEAVED.search(header)
    first = int(found[1]) if found else channel
    return InterleavedChannels(first, int(found[2]) if found and found[2] else first + 1)


def _parse_server_ports(header: str) -> ServerPorts:
    found, source = _SERVER_PORT.search(header), _SOURCE.search(header)
    source_address = source[1] if source else None
    if found is None or int(found[1]) >= MAX_PORT:
        return ServerPorts(source=source_address)
    first = int(found[1])
    second = int(found[2] or 0)
    return ServerPorts(first, second if 0 < second <= MAX_PORT else first + 1, source_address)
