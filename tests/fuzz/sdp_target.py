"""SDP: a camera's session description. An input is the base URL on the first line, then the description."""

from urllib.parse import urlsplit

from districam_ingest.codec.h264 import may_have_fields
from districam_ingest.rtsp import sdp
from districam_ingest.rtsp.message import RtspError
from fuzz.rtsp_target import AUDIO, make_sdp
from fuzz.target import Target, require

URL = "rtsp://camera/live?channel=1"


def run(data: bytes) -> None:
    """The parsed URLs must be valid in a request line."""
    base_text, _, body = data.partition(b"\n")
    location = base_text.decode("utf-8", "replace")
    try:
        base = sdp.base_url(URL, location or None, location[1:])
    except RtspError:
        base = URL
    _check_url(base)
    audio = _audio(body, base)
    if audio is not None:
        _check_url(audio.control_url)
        require(0 <= audio.payload_type < 128 and audio.clock_rate > 0, f"sound that cannot be: {audio}")
        require(len(audio.codec) <= 60 and audio.codec.isprintable(), f"a name of {audio.codec!r}")
    try:
        video = sdp.parse_video(body, base)
    except RtspError:
        return
    _check_url(video.control_url)
    _check_url(video.aggregate_url)
    require(0 <= video.payload_type < 128 and all(video.parameter_sets), f"a stream that cannot be: {video}")
    may_have_fields(video.codec, video.parameter_sets)


def _audio(body: bytes, base: str) -> sdp.AudioMedia | None:
    return sdp.parse_audio(body, base)


def _check_url(url: str) -> None:
    require(not any(one.isspace() or one < "!" for one in url), f"a URL with blanks in it: {url!r}")
    url.encode()  # requests are encoded in UTF-8
    require("@" not in urlsplit(url).netloc, f"a URL that names a user: {url!r}")


def seeds() -> list[bytes]:
    hevc = b"\nm=video 0 RTP/AVP 98\r\na=rtpmap:98 H265/90000\r\na=fmtp:98 sprop-vps=QAEMAf//AWAAAAMAkAAAAwAAAwA8lZQJ;sprop-sps=QgEBAWAAAAMAkAAAAwAAAwA8oA0IDxZZUpUrmgIAAAMAAgAAAwAyEA==;sprop-pps=RAHAc8GJ\r\n"
    several = (
        b"\nm=audio 0 RTP/AVP 0\r\nm=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n"
        + make_sdp()
    )
    return [
        b"\n" + make_sdp(more=AUDIO),
        b"rtsp://user:secret@camera:8554/live/\n" + make_sdp().replace(b"trackID=0", b"rtsp://u:p@camera/x"),
        b"//camera\n" + make_sdp("H265"),
        hevc,
        several,
        b"\n" + make_sdp(more="m=audio 0 RTP/AVP 8\na=control:track2\n"),
        b"\nm=video 0 RTP/SAVP 96\na=rtpmap:96 H264/90000\n",
        b"\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=2\n",
        b"\nm=video 0 RTP/AVP 26\na=control:x\nm=audio 0 RTP/AVP 97\na=rtpmap:97 opus/48000/2\n",
        b"\nm=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\na=fmtp:96 sprop-max-don-diff=1\n",
    ]


SDP = Target(
    name="sdp",
    run=run,
    seeds=seeds,
    max_bytes=3000,
    dictionary=(
        b"m=video ",
        b"m=audio ",
        b"a=rtpmap:",
        b"a=fmtp:",
        b"a=control:",
        b"RTP/AVP ",
        b"H264/90000",
        b"H265/90000",
        b"MPEG4-GENERIC/",
        b"PCMU/8000",
        b"sprop-parameter-sets=",
        b"sprop-vps=",
        b"sprop-sps=",
        b"sprop-pps=",
        b"config=",
        b"sizelength=",
        b"indexlength=",
        b"mode=AAC-lbr",
        b"packetization-mode=",
        b"rtsp://",
        b"rtsps://",
        b"@",
        b"%",
        b"[",
    ),
)
