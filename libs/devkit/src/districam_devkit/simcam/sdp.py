"""A simulated camera's session description (RFC 4566, RFC 2326 appendix C) and Content-Base. Pure."""

import base64
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from districam_devkit.bitstream import nal_type
from districam_devkit.simcam import rtp
from districam_devkit.simcam.clips import Clip
from districam_devkit.simcam.microphone import PAYLOAD_TYPES
from districam_devkit.simcam.tones import Tone

CONTROL: Final = "trackID=0"
AUDIO_CONTROL: Final = "trackID=1"
QUERY: Final = "?transportmode=unicast&profile=Profile_1"
_SESSION: Final[tuple[str, ...]] = ("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=simcam", "c=IN IP4 0.0.0.0", "t=0 0")
_METADATA: Final = (
    "m=application 0 RTP/AVP 107",
    "c=IN IP4 0.0.0.0",
    "a=recvonly",
    "a=control:trackID=3",
    "a=rtpmap:107 vnd.onvif.metadata/90000",
)
_VENDOR: Final = ("m=application/TP-LINK 0 RTP/AVP smart/1/90000", "a=rtpmap:95 TP-LINK/90000", "a=control:track3")
_OTHER_AUDIO: Final = ("m=audio 0 RTP/AVP 8", "a=rtpmap:8 PCMA/8000", f"a=control:{AUDIO_CONTROL}")


def content_base(uri: str, quirks: Collection[str]) -> list[tuple[str, str]]:
    """Returns the Content-Base header in the camera's form; none with `no-base`."""
    if "no-base" in quirks:
        return []
    base = uri if "bare-base" in quirks or uri.endswith("/") else uri + "/"
    if "foreign-base" in quirks:
        base = urlsplit(base)._replace(netloc="192.0.2.1:554").geturl()
    if "ipv6-base" in quirks:
        base = urlsplit(base)._replace(netloc="::ffff:192.0.2.1").geturl()
    if "schemeless-base" in quirks:
        base = base.partition("://")[2]
    if "double-scheme-base" in quirks:
        base = "rtsp://" + base
    return [("Content-Base", base)]


def describe(clip: Clip, uri: str, quirks: Collection[str] = (), *, tone: Tone | None = None) -> bytes:
    """Returns the SDP of a camera that plays this clip; `uri` is the URI of the DESCRIBE request."""
    session, video = _session(uri, quirks), _video(clip, uri, quirks)
    audio = _audio(tone) if tone is not None else []
    if "audio-first" in quirks or "fmtp-elsewhere" in quirks:
        audio = audio or list(_OTHER_AUDIO)
    if "fmtp-elsewhere" in quirks:  # after another media section's lines
        audio += [line for line in video if line.startswith("a=fmtp")]
        video = [line for line in video if not line.startswith("a=fmtp")]
    media = [*audio, *video] if "audio-first" in quirks else [*video, *audio]
    media += _METADATA if "metadata-track" in quirks else ()
    media += _VENDOR if "vendor-track" in quirks else ()
    end = (" " if "trailing-blanks" in quirks else "") + ("\n" if "line-feeds" in quirks else "\r\n")
    lines = media if "media-alone" in quirks else [*session, *media]
    return "".join(line + end for line in lines).encode()


def _session(uri: str, quirks: Collection[str]) -> list[str]:
    lines: list[str] = list(_SESSION)
    if "no-origin" in quirks:
        lines.remove(_SESSION[1])
    if "bare-connection" in quirks:
        lines = ["v=0", "o=- 1001 1 IN", "s=simcam", "c=IN"]
    if "no-session-control" not in quirks:
        lines.append(f"a=control:{_absolute(uri, quirks) if 'absolute-control' in quirks else '*'}")
    return [*lines, "a=range:npt=now-"]


def _absolute(uri: str, quirks: Collection[str]) -> str:
    return ("rtsp://" if "double-scheme-control" in quirks else "") + uri


def _control(uri: str, quirks: Collection[str]) -> str:
    track = CONTROL + (QUERY if "query-control" in quirks else "")
    if "absolute-control" in quirks or "double-scheme-control" in quirks:
        return f"{_absolute(uri, quirks).rstrip('/')}/{track}"
    return "/" + track if "slash-control" in quirks else track


def _video(clip: Clip, uri: str, quirks: Collection[str]) -> list[str]:
    kind = rtp.payload_type(quirks)
    return [
        f"m=video 0 RTP/AVP {kind}",
        *(["c=IN"] if "bare-connection" in quirks else []),
        f"a=rtpmap:{kind} {'H264' if clip.codec == 'h264' else 'H265'}/{rtp.CLOCK_HZ}",
        *([f"a=fmtp:{kind}"] if "empty-fmtp" in quirks else []),
        f"a=fmtp:{kind} {_format_parameters(clip, quirks)}",
        f"a=framerate:{float(clip.fps):g}",
        f"a=control:{_control(uri, quirks)}",
    ]


def _audio(tone: Tone) -> list[str]:
    """G.711 has static payload types (RFC 3551, 6), so it needs no rtpmap."""
    kind = PAYLOAD_TYPES[tone.encoding]
    lines = [f"m=audio 0 RTP/AVP {kind}"]
    if tone.encoding == "aac":  # RFC 3640, 4.1
        modes = "mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3"
        lines += [
            f"a=rtpmap:{kind} MPEG4-GENERIC/{tone.sample_rate}/1",
            f"a=fmtp:{kind} streamtype=5;profile-level-id=1;{modes};config={tone.config.hex()}",
        ]
    return [*lines, f"a=control:{AUDIO_CONTROL}"]


def _format_parameters(clip: Clip, quirks: Collection[str]) -> str:
    """Format parameters (RFC 6184, 8.1; RFC 7798, 7.1)."""
    sets = [(nal_type(clip.codec, nal), _sprop_value(nal, quirks)) for nal in clip.parameter_sets]
    without = "no-parameter-sets" in quirks
    if clip.codec == "hevc":
        names = {32: "sprop-vps", 33: "sprop-sps", 34: "sprop-pps"}
        return "profile-id=1" if without else "; ".join(f"{names[kind]}={value}" for kind, value in sets)
    sps = next(nal for nal in clip.parameter_sets if nal_type("h264", nal) == 7)
    mode = 0 if "packetization-mode-0" in quirks else 1
    parameters = [] if "no-packetization-mode" in quirks else [f"packetization-mode={mode}"]
    parameters.append(f"profile-level-id={sps[1:4].hex()}")
    if not without:
        parameters.append(f"sprop-parameter-sets={','.join(value for _, value in sets).strip(',')}")
    return "; ".join(parameters)


def _sprop_value(nal: bytes, quirks: Collection[str]) -> str:
    if "empty-parameter-sets" in quirks:
        return ""
    start = b"\0\0\0\1" if "annexb-parameter-sets" in quirks else b""
    return base64.b64encode(start + nal + (b"\0" if "padded-parameter-sets" in quirks else b"")).decode()
