"""RTSP 1.0 messages (RFC 2326 sections 4 to 7), as cameras write them: line ends may lack CR, header names have any case."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_HEAD_BYTES = 16 << 10
"""Bytes of a message's head. Real ones have a few hundred."""
MAX_HEADER_LINES, MAX_HEADER_CHARS = 256, 4 << 10
"""Header lines of a message, and characters of one, continuation lines included."""
MAX_BODY_BYTES = 256 << 10
"""Bytes of a session description; real ones have a few thousand."""

_STATUS_LINE = re.compile(r"RTSP/\d\.\d +(\d{3})(?: |$)")
_REQUEST_LINE = re.compile(r"([A-Z_]{3,20}) +(\S+) +RTSP/\d\.\d *$")
_LENGTH = re.compile(r"\d{1,9}$")


class RtspError(ValueError):
    """The peer's bytes are not what the RFCs allow, or more than is taken. The text holds nothing secret."""


class UnsupportedError(RtspError):
    """The peer is within the RFCs, but asks for what this client does not do."""


class TransportRefusedError(UnsupportedError):
    """The camera does not send over the connection: UDP is left."""


class BadStatusError(RtspError):
    """The peer answered a request with an error."""

    def __init__(self, method: str, status: int, detail: str = "") -> None:
        super().__init__(f"{method} was answered with {status}{': ' if detail else ''}{detail}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Message:
    """A response, or a request of the server's.

    Attributes:
        status: of a response; 0 for a request.
        method: of a request.
        headers: names in lower case, in order; a name may repeat.
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
    """The lines up to the empty one.

    Raises:
        RtspError: the first line is neither a status nor a request line; too many lines, or one too long.
    """
    first, *lines = head.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", " ").split("\n")
    if len(lines) > MAX_HEADER_LINES:
        raise RtspError(f"a message of more than {MAX_HEADER_LINES} header lines")
    headers = tuple(_parse_headers(lines))
    if status_line := _STATUS_LINE.match(first):
        return Message(int(status_line[1]), "", headers)
    if request_line := _REQUEST_LINE.match(first):
        return Message(0, request_line[1], headers)
    raise RtspError("neither a response nor a request")


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
            raise RtspError(f"a header of more than {MAX_HEADER_CHARS} characters")
    return headers


def content_length(message: Message) -> int:
    """Bytes that follow the head.

    Raises:
        RtspError: no number, or over `BODY_MOST`.
    """
    text = message.header("content-length")
    if not text:
        return 0
    if not _LENGTH.match(text) or int(text) > MAX_BODY_BYTES:
        raise RtspError("a Content-Length that is no number or too large")
    return int(text)


def encode_request(method: str, uri: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """A request without a body."""
    lines = [f"{method} {uri} RTSP/1.0", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def encode_response(request: Message) -> bytes:
    """What a server's own request is told: it may ask, and that is all (RFC 2326 section 10.1)."""
    status = "200 OK" if request.method in {"OPTIONS", "GET_PARAMETER", "SET_PARAMETER"} else "501 Not Implemented"
    return f"RTSP/1.0 {status}\r\nCSeq: {request.header('cseq') or '0'}\r\n\r\n".encode()
