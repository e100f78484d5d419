"""Parses SDP (RFC 4566): the first video, the first audio, and their control URLs (RFC 2326 appendix C)."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from districam_ingest.codec.aac import AudioParameters, parse_audio_specific_config
from districam_ingest.codec.audio_codecs import BY_ENCODING, BY_STATIC_PAYLOAD_TYPE
from districam_ingest.codec.nal import BitstreamError, Codec, split_annexb
from districam_ingest.rtsp.aac_depacketizer import AuHeaderFormat
from districam_ingest.rtsp.message import RtspError, UnsupportedError

CLOCK_HZ = 90_000
_PROTOCOLS = {"RTP/AVP", "RTP/AVP/TCP", "RTP/AVPF"}
_CODECS: dict[str, Codec] = {"H264": "h264", "H265": "hevc", "HEVC": "hevc"}
_SPROP_NAMES: dict[Codec, tuple[str, ...]] = {
    "h264": ("sprop-parameter-sets",),
    "hevc": ("sprop-vps", "sprop-sps", "sprop-pps"),
}
_AAC_MODES = {"aac-hbr": AuHeaderFormat(13, 3, 3), "aac-lbr": AuHeaderFormat(6, 2, 2)}
"""AU header lengths of the modes of RFC 3640 (sections 3.3.6 and 3.3.5)."""
_ENCODING_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}$")
_RTPMAP = re.compile(r"(\d{1,3})\s+([^/\s]+)/(\d{1,9})")
_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f]")
_URL = re.compile(r"rtspu?s?://[^\s\x00-\x1f]+$", re.IGNORECASE)
_DOUBLE_SCHEME = re.compile(r"rtspu?s?://(?=rtspu?s?://)", re.IGNORECASE)
"""`rtsp://rtsp://camera/…`, the base of a Vikylin camera (docs/cameras.md: double-scheme-base)."""


@dataclass(frozen=True, slots=True)
class VideoMedia:
    """The first video of a session.

    Attributes:
        parameter_sets: NAL units of the sprop parameters; empty if absent.
        control_url: request URL of SETUP.
        aggregate_url: request URL of PLAY, TEARDOWN and keep-alives.
    """

    codec: Codec
    payload_type: int
    parameter_sets: tuple[bytes, ...]
    control_url: str
    aggregate_url: str


@dataclass(frozen=True, slots=True)
class AudioMedia:
    """The first audio of a session.

    Attributes:
        codec: `aac`, `pcm_mulaw`, `pcm_alaw`; for others the encoding name in lower case.
        clock_rate: timestamp ticks per second.
        control_url: request URL of SETUP.
        parameters, au_headers: of AAC; otherwise None.
    """

    codec: str
    payload_type: int
    clock_rate: int
    control_url: str
    parameters: AudioParameters | None = None
    au_headers: AuHeaderFormat | None = None


@dataclass(slots=True)
class _MediaSection:
    formats: list[str] = field(default_factory=list[str])
    protocol: str = ""
    media_type: str = ""
    attributes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def parse_video(body: bytes, base: str) -> VideoMedia:
    """Parses the first video of an SDP. Relative control URLs are appended to `base` (see `base_url`).

    Raises:
        UnsupportedError: not H.264 or H.265, or in a packetization that the depacketizers do not support.
        RtspError: not a session description.
    """
    session, medias = _parse_sections(body)
    video = next((media for media in medias if media.media_type == "video"), None)
    if video is None:
        raise UnsupportedError("the session has no video") if medias else RtspError("DESCRIBE returned no valid SDP")
    if video.protocol.upper() not in _PROTOCOLS:
        raise UnsupportedError("the video's transport is not RTP/AVP")
    payload_type, codec = _select_video_format(video)
    parameters = _parse_fmtp(video, payload_type)
    _check_decode_order(codec, parameters)
    sets = tuple(
        nal
        for name in _SPROP_NAMES[codec]
        for text in parameters.get(name, "").split(",")
        for nal in _decode_parameter_sets(text)
    )
    aggregate = _join_control_url(base, next(iter(session.values("control")), ""))
    control = next(iter(video.values("control")), "")
    return VideoMedia(codec, payload_type, sets, _join_control_url(base, control), aggregate)


def parse_audio(body: bytes, base: str) -> AudioMedia | None:
    """Parses the first audio of an SDP; None if it has none or does not name the encoding. Never raises."""
    _, medias = _parse_sections(body)
    media = next((media for media in medias if media.media_type == "audio" and media.formats), None)
    if media is None or media.protocol.upper() not in _PROTOCOLS:
        return None
    mapped = _parse_rtpmap(media)
    if mapped is None:
        return None
    payload_type, encoding, rate = mapped
    try:
        url = _join_control_url(base, next(iter(media.values("control")), ""))
        if encoding == "MPEG4-GENERIC":
            return _parse_aac(payload_type, rate, url, _parse_fmtp(media, payload_type))
    except (BitstreamError, RtspError, ValueError):
        return AudioMedia(f"{encoding.lower()} (not readable)", payload_type, rate, "")
    codec = BY_ENCODING.get(encoding)
    if codec is not None and codec.clock_rate not in {None, rate}:
        return AudioMedia(f"{encoding.lower()} (not readable)", payload_type, rate, "")
    return AudioMedia(codec.name if codec is not None else encoding.lower(), payload_type, rate, url)


def _parse_rtpmap(media: _MediaSection) -> tuple[int, str, int] | None:
    """Payload type, encoding name in capitals, and clock rate of the first format."""
    kind = media.formats[0]
    found = next((m for text in media.values("rtpmap") if (m := _RTPMAP.match(text)) and m[1] == kind), None)
    if found is None:
        codec = BY_STATIC_PAYLOAD_TYPE.get(kind)
        return (int(kind), codec.encoding, codec.clock_rate or 0) if codec is not None else None
    rate = int(found[3])
    if int(kind) > 127 or not rate or not _ENCODING_NAME.match(found[2]):
        return None
    return int(kind), found[2].upper(), rate


def _parse_aac(payload_type: int, rate: int, url: str, parameters: Mapping[str, str]) -> AudioMedia:
    """AAC by its fmtp (RFC 3640 section 4.1): AU header lengths given there, otherwise those of the mode."""
    usual = _AAC_MODES.get(parameters.get("mode", "").lower(), AuHeaderFormat(0, 0, 0))
    headers = AuHeaderFormat(
        int(parameters.get("sizelength", usual.size_length)),
        int(parameters.get("indexlength", usual.index_length)),
        int(parameters.get("indexdeltalength", usual.index_delta_length)),
    )
    extra = ("ctsdeltalength", "dtsdeltalength", "randomaccessindication", "auxiliarydatasizelength")
    if not (
        0 < headers.size_length <= 16 and 0 <= headers.index_length <= 16 and 0 <= headers.index_delta_length <= 16
    ):
        raise UnsupportedError("AAC without sizelength, or with AU header fields over 16 bits")
    if any(parameters.get(name, "0") not in {"", "0"} for name in extra):
        raise UnsupportedError("AU headers with CTS, DTS, RAP or auxiliary data are not supported")
    audio_parameters = parse_audio_specific_config(bytes.fromhex(parameters.get("config", "").strip('"')), rate)
    return AudioMedia("aac", payload_type, rate, url, audio_parameters, headers)


def base_url(request_url: str, content_base: str | None, content_location: str | None) -> str:
    """Base of control attributes (RFC 2326 section C.1.1): Content-Base, Content-Location, or the request URL.

    Only absolute URLs with a host are accepted, since some cameras send empty or relative ones. The base is
    only written into requests; no connection is made to its host.
    """
    for candidate in (content_base, content_location):
        base = _DOUBLE_SCHEME.sub("", (candidate or "").strip())
        if _URL.match(base):
            url = without_userinfo(base)
            has_host = urlsplit(base).netloc.rpartition("@")[2]
            if has_host:  # `rtsp://user@` has none: a control attribute appended to it would become the host
                return url
    return request_url


def without_userinfo(url: str) -> str:
    """The URL without user name, password and fragment, for request lines.

    Raises:
        RtspError: the URL is malformed.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RtspError("malformed URL") from None
    host = parts.netloc.rpartition("@")[2]
    if not host and parts.path.startswith("//"):  # reassembled, the start of the path would become the host
        raise RtspError("malformed URL")
    return urlunsplit(parts._replace(netloc=host, fragment=""))


def _join_control_url(base: str, control: str) -> str:
    """Appends `control` to `base`, not as RFC 3986: cameras with `?channel=1` in their URL expect that."""
    control = _DOUBLE_SCHEME.sub("", control.strip())
    if control in {"", "*"}:
        return base
    if _URL.match(control):
        return without_userinfo(control)
    if _BLANK_OR_CONTROL.search(control):
        raise RtspError("a control attribute contains white space or control characters")
    return base + ("" if base.endswith("/") else "/") + control.removeprefix("/")


def _parse_sections(body: bytes) -> tuple[_MediaSection, list[_MediaSection]]:
    """The session section and the media sections; lines other than `m=` and `a=` are ignored."""
    session = current = _MediaSection()
    medias: list[_MediaSection] = []
    for line in body.decode("utf-8", "replace").splitlines():
        kind, _, value = line.strip().partition("=")
        if kind == "m":  # media, port, proto, fmt … (RFC 4566 section 5.14)
            words = value.split()
            current = _MediaSection(words[3:], *words[2:3], media_type=next(iter(words), ""))
            medias.append(current)
        elif kind == "a":
            name, _, rest = value.partition(":")
            current.attributes.append((name.strip().lower(), rest.strip()))
    return session, medias


def _select_video_format(video: _MediaSection) -> tuple[int, Codec]:
    """Payload type and codec of the first H.264 or H.265 format."""
    for text in video.values("rtpmap"):
        mapped = _RTPMAP.match(text)
        if mapped is None or mapped[1] not in video.formats:
            continue
        codec = _CODECS.get(mapped[2].upper())
        if codec is not None and int(mapped[1]) < 128:
            if int(mapped[3]) != CLOCK_HZ:
                raise UnsupportedError(f"a video clock rate of {mapped[3]} Hz instead of 90000")
            return int(mapped[1]), codec
    raise UnsupportedError("the video is neither H.264 nor H.265")


def _parse_fmtp(video: _MediaSection, payload_type: int) -> dict[str, str]:
    fmtp: dict[str, str] = {}
    for text in video.values("fmtp"):
        number, _, rest = text.partition(" ")
        if number == str(payload_type):
            pairs: Sequence[tuple[str, str, str]] = [one.strip().partition("=") for one in rest.split(";")]
            fmtp |= {name.strip().lower(): value.strip() for name, _, value in pairs}
    return fmtp


def _check_decode_order(codec: Codec, parameters: Mapping[str, str]) -> None:
    """Raises UnsupportedError unless sent in decode order (RFC 6184 section 6.4, RFC 7798 section 7.1)."""
    if codec == "h264" and parameters.get("packetization-mode") == "2":
        raise UnsupportedError("H.264 with packetization-mode=2 (interleaved) is not supported")
    if codec == "hevc" and any(
        parameters.get(name, "0") not in {"", "0"} for name in ("sprop-max-don-diff", "sprop-depack-buf-nalus")
    ):
        raise UnsupportedError("H.265 transmitted out of decode order (DONL) is not supported")


def _decode_parameter_sets(text: str) -> list[bytes]:
    """NAL units of a base64 value, padded or not; none if malformed, since parameter sets come in band too.

    Some cameras put start codes before them (docs/cameras.md: annexb-parameter-sets).
    """
    text = text.strip().rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return []
    return split_annexb(data if data.startswith((b"\0\0\1", b"\0\0\0\1")) else b"\0\0\1" + data)
