import base64
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from districam_ingest.rtsp.message import RtspError, UnsupportedError
from districam_ingest.rtsp.sdp import base_url, parse_video, without_userinfo

BASE = "rtsp://camera/live"
SPS, PPS = b"\x67\x64\x00\x1e\xff", b"\x68\xee\x3c\x80"


def described(*attributes: str, media: str = "video 0 RTP/AVP 96", session: str = "a=control:*") -> bytes:
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=x", session, "m=audio 0 RTP/AVP 0", "a=control:track0"]
    return "\r\n".join([*lines, f"m={media}", *(f"a={one}" for one in attributes)]).encode()


H264 = "rtpmap:96 H264/90000"


def test_h264_video_is_parsed():
    sets = ",".join(base64.b64encode(nal).decode() for nal in (SPS, PPS))
    fmtp = f"fmtp:96 packetization-mode=1; sprop-parameter-sets={sets};profile-level-id=64001e"
    video = parse_video(described(H264, fmtp, "control:trackID=1"), BASE)
    assert (video.codec, video.payload_type, video.parameter_sets) == ("h264", 96, (SPS, PPS))
    assert (video.control_url, video.aggregate_url) == ("rtsp://camera/live/trackID=1", BASE)


def test_parameter_sets_of_hevc_are_parsed_from_three_attributes():
    fmtp = "fmtp:98 sprop-vps=QAE; sprop-sps=QgE=;sprop-pps=RAE"
    video = parse_video(described("rtpmap:98 h265/90000", fmtp, media="video 0 RTP/AVP 98"), BASE)
    assert (video.codec, video.parameter_sets) == ("hevc", (b"\x40\x01", b"\x42\x01", b"\x44\x01"))


@pytest.mark.parametrize("value", ["", "!!!", "Z2Q", "A", ",,"])
def test_parameter_sets_that_are_not_base64_are_ignored(value: str):
    video = parse_video(described(H264, f"fmtp:96 sprop-parameter-sets={value}", "fmtp:97 x=y"), BASE)
    assert all(video.parameter_sets)


@pytest.mark.parametrize(
    ("base", "control", "url"),
    [
        ("rtsp://camera/live/", "trackID=1", "rtsp://camera/live/trackID=1"),
        ("rtsp://camera/live", "trackID=1", "rtsp://camera/live/trackID=1"),
        ("rtsp://camera/live", "/trackID=1", "rtsp://camera/live/trackID=1"),
        ("rtsp://camera/r?channel=1&subtype=0", "trackID=0", "rtsp://camera/r?channel=1&subtype=0/trackID=0"),
        ("rtsp://camera/live", "rtsp://10.0.0.1:554/live/1", "rtsp://10.0.0.1:554/live/1"),
        ("rtsp://camera/live", "rtsp://u:p@10.0.0.1/live/1", "rtsp://10.0.0.1/live/1"),
        ("rtsp://camera/live", "*", "rtsp://camera/live"),
        ("rtsp://camera/live", "", "rtsp://camera/live"),
    ],
)
def test_control_attributes_are_appended_to_the_base_or_replace_it(base: str, control: str, url: str):
    assert parse_video(described(H264, f"control:{control}"), base).control_url == url


def test_play_uses_the_control_attribute_of_the_session():
    video = parse_video(described(H264, "control:1", session="a=control:rtsp://camera/all"), BASE)
    assert video.aggregate_url == "rtsp://camera/all"
    assert parse_video(described(H264, session="a=x"), BASE).aggregate_url == BASE


@pytest.mark.parametrize(
    ("content_base", "location", "base"),
    [
        (None, None, BASE),
        ("rtsp://other/live/ ", None, "rtsp://other/live/"),
        ("rtsp://u:p@other/live/", None, "rtsp://other/live/"),
        ("", "rtsp://other/x", "rtsp://other/x"),
        ("/live/", None, BASE),
        ("rtsp://a b", None, BASE),
        ("http://other/", None, BASE),
        ("rtsp://u:p@", "rtsp://", BASE),
        ("rtsp://@", "rtsp://other/x", "rtsp://other/x"),
    ],
)
def test_only_absolute_urls_are_accepted_as_base(content_base: str | None, location: str | None, base: str):
    assert base_url(BASE, content_base, location) == base


@pytest.mark.parametrize(
    "body",
    [
        described("rtpmap:96 MP4V-ES/90000"),
        described("rtpmap:97 H264/90000"),
        described(),
        described("rtpmap:96 H264/1000"),
        described("rtpmap:x"),
        described(H264, media="video 0 RTP/SAVP 96"),
        described(H264, "fmtp:96 packetization-mode=2"),
        described("rtpmap:96 H265/90000", "fmtp:96 sprop-max-don-diff=1"),
        described(H264, media="application 0 RTP/AVP 96"),
        described("rtpmap:200 H264/90000", media="video 0 RTP/AVP 200"),
    ],
)
def test_unsupported_video_raises_unsupported_error(body: bytes):
    with pytest.raises(UnsupportedError):
        parse_video(body, BASE)


@pytest.mark.parametrize("body", [b"", b"garbage", b"v=0\r\n", described(H264, "control:a b"), b"m=\nm"])
def test_a_body_that_is_not_sdp_raises_rtsp_error(body: bytes):
    with pytest.raises(RtspError):
        parse_video(body, BASE)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_raise_rtsp_error(noise: bytes):
    for body in (noise, described(H264) + b"\r\na=fmtp:96 " + noise, described() + b"\r\na=" + noise):
        try:
            parse_video(body, BASE)
        except RtspError:
            continue


URL_PIECES = st.sampled_from(["rtsp://", "/", "//", "]", "[", "@", ":", "u:p@", "camera", "?", "#", " ", "x"])


@pytest.mark.hostile
@given(st.lists(URL_PIECES, max_size=8).map("".join))
@example("rtsp:////]")
@example("rtsp://u@//camera/x")
def test_any_base_is_accepted_ignored_or_raises_rtsp_error(content_base: str):
    try:
        base = base_url(BASE, content_base, None)
    except RtspError:
        return
    parts = urlsplit(base)
    assert parts.netloc
    assert "@" not in parts.netloc


def test_user_name_and_password_are_removed_from_urls():
    assert without_userinfo("rtsp://u:p@camera:8554/x?y#z") == "rtsp://camera:8554/x?y"
    with pytest.raises(RtspError):
        without_userinfo("rtsp://[x/")
    with pytest.raises(RtspError):
        without_userinfo("rtsp://u:p@//camera/")
