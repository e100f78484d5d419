"""RTSP 1.0 messages (RFC 2326). Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "GET_PARAMETER", "SET_PARAMETER", "TEARDOWN")
_HEADER_LIMIT = 16 * 1024
_REASONS = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class ProtocolError(ValueError):
    """The client's bytes are not RTSP; the connection must be closed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request; header names are in lower case."""

    method: str
    uri: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def camera_id(self) -> str:
        """The first element of the URI's path."""
        return urlsplit(self.uri).path.lstrip("/").partition("/")[0]

    @property
    def session_id(self) -> str:
        return self.headers.get("session", "").partition(";")[0].strip()


class RequestParser:
    """Parses a connection's bytes into requests; skips interleaved packets from the client (its RTCP) and responses.

    Responses come from clients that took bytes of ours for a request.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Returns the requests that are complete now. Raises ProtocolError."""
        self._buffer += data
        requests: list[Request] = []
        while (length := self._message_length()) is not None:
            message = bytes(self._buffer[:length])
            del self._buffer[:length]
            if message.strip() and not message.startswith((b"$", b"RTSP/1.0 ")):
                requests.append(_parse_request(message))
        return requests

    def _message_length(self) -> int | None:
        """Length of the first message in the buffer, None while it is incomplete."""
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            return 2
        if buffer.startswith(b"$"):
            needed = 4 + int.from_bytes(buffer[2:4], "big")
            return needed if len(buffer) >= max(4, needed) else None
        end = buffer.find(b"\r\n\r\n", 0, _HEADER_LIMIT)
        if end < 0:
            if len(buffer) >= _HEADER_LIMIT:
                raise ProtocolError("no end of the request header")
            return None
        match = re.search(rb"\r\ncontent-length:\s*(\d{1,5})\r\n", buffer[: end + 2], re.IGNORECASE)
        needed = end + 4 + (int(match[1]) if match else 0)
        return needed if len(buffer) >= needed else None


def _parse_request(message: bytes) -> Request:
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.decode("utf-8", "replace").split("\r\n")
    words = first.split()
    if len(words) != 3 or words[2] != "RTSP/1.0":
        raise ProtocolError("no RTSP/1.0 request line")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(words[0], words[1], headers, body)


def response(
    status: int, cseq: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", quirks: Collection[str] = ()
) -> bytes:
    """Returns the response to the request with that `CSeq`, in the form of a camera with these quirks."""
    all_headers = [("CSeq", "0" if "zero-cseq" in quirks else cseq), ("Server", "simcam"), *headers]
    if body:
        all_headers.append(("Content-Length", str(len(body))))
    absent = {"no-content-type": "Content-Type", "no-cseq": "CSeq"}
    left_out = {name for quirk, name in absent.items() if quirk in quirks}
    all_headers = [(name, value) for name, value in all_headers if name not in left_out]
    if "empty-header" in quirks:
        all_headers.append(("Cache-Control", ""))
    reason = "" if "no-reason" in quirks else f" {_REASONS[status]}"
    lines = [f"RTSP/1.0 {status}{reason}"]
    lines += [f"{name.lower() if 'low-names' in quirks else name}: {value}" for name, value in all_headers]
    if "blank-line" in quirks:  # a line with one blank does not end the header
        lines.insert(2, " ")
    if "trailing-blanks" in quirks:
        lines = [line + " " for line in lines]
    end = "\n" if "bare-line-ends" in quirks else "\r\n"
    return (end.join(lines) + end + end).encode() + body


def server_requests(uri: str, session_id: str) -> bytes:
    """Requests that some cameras send to the client while playing, to check that it is alive."""
    head = f"{uri} RTSP/1.0\r\nCSeq: 1\r\nSession: {session_id}\r\n"
    return f"OPTIONS {head}\r\nSET_PARAMETER {head}Content-Length: 0\r\n\r\n".encode()


def interleaved_channels(transport: str) -> tuple[int, int] | None:
    """RTP and RTCP channels of the first TCP alternative of a `Transport` header; None if there is none."""
    for alternative in transport.split(","):
        words = [word.strip() for word in alternative.split(";")]
        if words[0].upper() == "RTP/AVP/TCP":
            match = re.search(r"interleaved=(\d{1,3})(?:-(\d{1,3}))?", alternative)
            first = int(match[1]) if match else 0
            second = int(match[2]) if match and match[2] else first + 1
            return (first, second) if max(first, second) <= 255 else None
    return None


def client_ports(transport: str) -> tuple[int, int] | None:
    """RTP and RTCP ports of the first UDP alternative of a `Transport` header; None if there is none."""
    for alternative in transport.split(","):
        words = [word.strip() for word in alternative.split(";")]
        match = re.search(r"client_port=(\d{1,5})(?:-(\d{1,5}))?", alternative)
        if words[0].upper() in {"RTP/AVP", "RTP/AVP/UDP"} and "multicast" not in words and match:
            first = int(match[1])
            return first, int(match[2]) if match[2] else first + 1
    return None


def format_transport(transport: str, quirks: Collection[str], *, ssrc: int, host: str, peer: str) -> str:
    """Returns the `Transport` header of the SETUP response: the agreed transport and the SSRC."""
    if "no-channels" in quirks:
        transport = re.sub(r";interleaved=[\d-]+", "", transport)
    if "addresses" in quirks:
        transport = transport.replace(";interleaved", f";destination={peer};source={host};interleaved")
    if "wrong-ssrc" in quirks:
        ssrc ^= 0xFFFF_FFFF
    written = f"{ssrc:08X}"
    if "ssrc-blank" in quirks:  # a blank in place of the first digit
        written = f" {ssrc & 0x0FFF_FFFF:x}"
    if "ssrc-first" in quirks:
        protocol, _, rest = transport.partition(";")
        transport = f"{protocol};ssrc={written};{rest}"
    elif "addresses" not in quirks:
        transport = f"{transport};ssrc={written}"
    transport += ';mode="PLAY"'
    return transport.lower() if "low-transport" in quirks else transport
