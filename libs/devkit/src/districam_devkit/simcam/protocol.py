"""RTSP 1.0 messages and session descriptions. Pure. RFC 2326 and RFC 4566."""

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from districam_devkit.bitstream import nal_type
from districam_devkit.simcam import rtp
from districam_devkit.simcam.clips import Clip
from districam_devkit.simcam.microphone import PAYLOAD_TYPES
from districam_devkit.simcam.tones import Tone

METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "GET_PARAMETER", "SET_PARAMETER", "TEARDOWN")
CONTROL = "trackID=0"
SOUND_CONTROL = "trackID=1"
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
    """What the client sent is not RTSP; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Request:
    """Header names are in lower case."""

    method: str
    uri: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def camera_id(self) -> str:
        """The first element of the path."""
        return urlsplit(self.uri).path.lstrip("/").partition("/")[0]

    @property
    def session_id(self) -> str:
        return self.headers.get("session", "").partition(";")[0].strip()


class RequestReader:
    """Bytes of a connection to requests; interleaved packets from the client (its RTCP) and responses are skipped.

    A client that took our bytes for a request answers it.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """The requests that are complete now. Raises ProtocolError."""
        self._buffer += data
        requests: list[Request] = []
        while (length := self._message_length()) is not None:
            message = bytes(self._buffer[:length])
            del self._buffer[:length]
            if message.strip() and not message.startswith((b"$", b"RTSP/1.0 ")):
                requests.append(_parse_request(message))
        return requests

    def _message_length(self) -> int | None:
        """Bytes of the first message in the buffer, None while it is incomplete."""
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            return 2
        if buffer.startswith(b"$"):
            needed = 4 + int.from_bytes(buffer[2:4], "big")
            return needed if len(buffer) >= max(4, needed) else None
        end = buffer.find(b"\r\n\r\n", 0, _HEADER_LIMIT)
        if end < 0:
            if len(buffer) >= _HEADER_LIMIT:
                raise ProtocolError("the request's header does not end")
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
    status: int,
    cseq: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    quirks: Collection[str] = (),
) -> bytes:
    said = [("CSeq", cseq), ("Server", "simcam"), *headers]
    if body:
        said.append(("Content-Length", str(len(body))))
    lines = [f"RTSP/1.0 {status} {_REASONS[status]}"]
    lines += [f"{name.lower() if 'low-names' in quirks else name}: {value}" for name, value in said]
    end = "\n" if "bare-line-ends" in quirks else "\r\n"
    return (end.join(lines) + end + end).encode() + body


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


def content_base(uri: str, quirks: Collection[str]) -> list[tuple[str, str]]:
    """The header that says what control attributes hang on, as this camera has it."""
    if "no-base" in quirks:
        return []
    base = uri if "bare-base" in quirks or uri.endswith("/") else uri + "/"
    if "foreign-base" in quirks:
        base = urlsplit(base)._replace(netloc="192.0.2.1:554").geturl()
    return [("Content-Base", base)]


def describe(clip: Clip, uri: str, quirks: Collection[str] = ()) -> bytes:
    """The session description of a camera that plays this clip; `uri` is how it was asked for."""
    is_absolute = "absolute-control" in quirks
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=simcam",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        *([] if "no-session-control" in quirks else [f"a=control:{uri if is_absolute else '*'}"]),
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {rtp.PAYLOAD_TYPE}",
        f"a=rtpmap:{rtp.PAYLOAD_TYPE} {'H264' if clip.codec == 'h264' else 'H265'}/{rtp.CLOCK_HZ}",
        f"a=fmtp:{rtp.PAYLOAD_TYPE} {_format_parameters(clip)}",
        f"a=framerate:{float(clip.fps):g}",
        f"a=control:{uri.rstrip('/') + '/' if is_absolute else ''}{CONTROL}",
    ]
    return ("\r\n".join(lines) + "\r\n").encode()


def describe_sound(tone: Tone) -> bytes:
    """What stands behind the pictures' description. G.711 has static payload types, and needs no rtpmap."""
    kind = PAYLOAD_TYPES[tone.encoding]
    lines = [f"m=audio 0 RTP/AVP {kind}"]
    if tone.encoding == "aac":  # RFC 3640, 4.1
        modes = "mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3"
        lines += [
            f"a=rtpmap:{kind} MPEG4-GENERIC/{tone.rate}/1",
            f"a=fmtp:{kind} streamtype=5;profile-level-id=1;{modes};config={tone.config.hex()}",
        ]
    return ("\r\n".join([*lines, f"a=control:{SOUND_CONTROL}"]) + "\r\n").encode()


def _format_parameters(clip: Clip) -> str:
    """RFC 6184, 8.1, and RFC 7798, 7.1."""
    sets = [(nal_type(clip.codec, nal), base64.b64encode(nal).decode()) for nal in clip.parameter_sets]
    if clip.codec == "hevc":
        names = {32: "sprop-vps", 33: "sprop-sps", 34: "sprop-pps"}
        return "; ".join(f"{names[kind]}={value}" for kind, value in sets)
    sps = next(nal for nal in clip.parameter_sets if nal_type("h264", nal) == 7)
    values = ",".join(value for _, value in sets)
    return f"packetization-mode=1; profile-level-id={sps[1:4].hex()}; sprop-parameter-sets={values}"
