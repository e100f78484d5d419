"""Parses and writes RTSP 1.0 messages (RFC 2326 sections 4 to 7). Some cameras end lines with LF alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_HEAD_BYTES = 16 << 10
"""Bytes of a message's start line and headers. Real ones have a few hundred."""
MAX_HEADER_LINES, MAX_HEADER_CHARS = 256, 4 << 10
"""Header lines of a message, and characters of a header with its continuation lines."""
MAX_BODY_BYTES = 256 << 10
"""Bytes of a body, which is a session description. Real ones have a few thousand."""

_STATUS_LINE = re.compile(r"RTSP/\d\.\d +(\d{3})(?: |$)")
_REQUEST_LINE = re.compile(r"([A-Z_]{3,20}) +(\S+) +RTSP/\d\.\d *$")
_LENGTH = re.compile(r"\d{1,9}$")


class RtspError(ValueError):
    """The peer violates the protocol or exceeds a limit. The text holds no secret."""


class UnsupportedError(RtspError):
    """The peer is within the RFCs, but needs a feature that this client lacks."""


class TransportRefusedError(UnsupportedError):
    """The camera refuses interleaved RTP; UDP may work."""


class BadStatusError(RtspError):
    """The peer answered a request with an error status."""

    def __init__(self, method: str, status: int, detail: str = "") -> None:
        super().__init__(f"{method} was answered with {status}{': ' if detail else ''}{detail}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Message:
    """A response, or a request sent by the server.

    Attributes:
        status: status code of a response; 0 for a request.
        method: method of a request; empty for a response.
        headers: names in lower case and values, in order; a name may repeat.
    """

    status: int
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def header_values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


def parse_head(head: bytes) -> Message:
    """Parses start line and headers, without the blank line.

    Raises:
        RtspError: neither a status line nor a request line, over `MAX_HEADER_LINES` or `MAX_HEADER_CHARS`.
    """
    first, *lines = head.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", " ").split("\n")
    if len(lines) > MAX_HEADER_LINES:
        raise RtspError(f"an RTSP message has more than {MAX_HEADER_LINES} header lines")
    headers = tuple(_parse_headers(lines))
    if status_line := _STATUS_LINE.match(first):
        return Message(int(status_line[1]), "", headers)
    if request_line := _REQUEST_LINE.match(first):
        return Message(0, request_line[1], headers)
    raise RtspError("neither an RTSP response nor a request")


def _parse_headers(lines: Sequence[str]) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for line in lines:
        if line[:1] in {" ", "\t"} and headers:  # folded (RFC 2326 section 4.2)
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}")
        elif ":" in line:
            name, _, value = line.partition(":")
            headers.append((name.strip().lower(), value.strip()))
        if headers and len(headers[-1][1]) > MAX_HEADER_CHARS:
            raise RtspError(f"an RTSP header has more than {MAX_HEADER_CHARS} characters")
    return headers


def content_length(message: Message) -> int:
    """Content-Length of a message, 0 if absent.

    Raises:
        RtspError: not a number, or over `MAX_BODY_BYTES`.
    """
    text = message.header("content-length")
    if not text:
        return 0
    if not _LENGTH.match(text) or int(text) > MAX_BODY_BYTES:
        raise RtspError(f"Content-Length is malformed or over {MAX_BODY_BYTES}")
    return int(text)


def encode_request(method: str, uri: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """Encodes a request without a body."""
    lines = [f"{method} {uri} RTSP/1.0", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def encode_response(request: Message) -> bytes:
    """Encodes the reply to a server's request (RFC 2326 section 10): 200 to keep-alives, 501 to others."""
    status = "200 OK" if request.method in {"OPTIONS", "GET_PARAMETER", "SET_PARAMETER"} else "501 Not Implemented"
    return f"RTSP/1.0 {status}\r\nCSeq: {request.header('cseq') or '0'}\r\n\r\n".encode()
