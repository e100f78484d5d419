"""Audio in a session: SDP, SETUP and depacketizing. Errors of the audio never affect the video."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.rtsp import sdp
from districam_ingest.rtsp.aac_depacketizer import AuHeaderFormat
from districam_ingest.rtsp.audio_track import MAX_PENDING_UNITS
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.message import Message
from districam_ingest.rtsp.session import Session
from districam_ingest.units import AudioUnit

BASE = "rtsp://camera/live"
VIDEO = ["v=0", "m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=control:v"]
FMTP = "fmtp:97 streamtype=5; mode=AAC-hbr; SizeLength=13; IndexLength=3; IndexDeltaLength=3; config=1408"
AAC = ["m=audio 0 RTP/AVP 97", "a=rtpmap:97 mpeg4-generic/16000/1", f"a={FMTP}", "a=control:a"]
NTP_S, CAMERA_US = 2_208_988_800 + 1_700_000_000, 1_700_000_000_000_000
T0 = 0xFFFF_FC00


def described(*lines: str) -> bytes:
    return "\r\n".join([*VIDEO, *lines]).encode()


def test_aac_parameters_are_parsed_from_the_sdp():
    audio = sdp.parse_audio(described(*AAC), BASE)
    assert audio is not None
    assert audio.parameters is not None
    assert (audio.codec, audio.payload_type, audio.clock_rate, audio.control_url) == ("aac", 97, 16_000, BASE + "/a")
    assert (audio.parameters.codecs, audio.parameters.unit_ticks) == ("mp4a.40.2", 1024)
    assert audio.au_headers == AuHeaderFormat(13, 3, 3)


def test_au_header_lengths_that_are_not_given_are_those_of_the_mode():
    lines = [AAC[0], AAC[1], 'a=fmtp:97 mode=AAC-lbr;config="1408"']
    audio = sdp.parse_audio(described(*lines), BASE)
    assert audio is not None
    assert audio.au_headers == AuHeaderFormat(6, 2, 2)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["m=audio 0 RTP/AVP 0"], "pcm_mulaw"),
        (["m=audio 0 RTP/AVP 8"], "pcm_alaw"),
        (["m=audio 0 RTP/AVP 97", "a=rtpmap:97 PCMA/8000"], "pcm_alaw"),
        (["m=audio 0 RTP/AVP 97", "a=rtpmap:97 PCMU/16000"], "pcmu (not readable)"),
        (["m=audio 0 RTP/AVP 97", "a=rtpmap:97 opus/48000/2"], "opus"),
        (["m=audio 0 RTP/AVP 97", "a=rtpmap:97 MP4A-LATM/16000"], "mp4a-latm"),
        ([AAC[0], AAC[1]], "mpeg4-generic (not readable)"),
        ([AAC[0], AAC[1], f"a={FMTP.replace('1408', 'xyz')}"], "mpeg4-generic (not readable)"),
        ([AAC[0], AAC[1], f"a={FMTP.replace('=13', '=x')}"], "mpeg4-generic (not readable)"),
        ([AAC[0], AAC[1], f"a={FMTP};ctsDeltaLength=2"], "mpeg4-generic (not readable)"),
        ([AAC[0], AAC[1], f"a={FMTP}", "a=control:a b"], "mpeg4-generic (not readable)"),
    ],
)
def test_other_audio_codecs_are_named_without_parameters(lines: list[str], name: str):
    audio = sdp.parse_audio(described(*lines), BASE)
    assert audio is not None
    assert (audio.codec, audio.parameters) == (name, None)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["m=audio 0 RTP/AVP"],
        ["m=audio 0 RTP/AVP 3"],
        ["m=audio 0 RTP/SAVP 0"],
        ["m=audio 0 RTP/AVP 97", "a=rtpmap:97 x y/0"],
        ["m=audio 0 RTP/AVP 200", "a=rtpmap:200 PCMU/8000"],
    ],
)
def test_audio_without_a_known_encoding_name_is_ignored(lines: list[str]):
    assert sdp.parse_audio(described(*lines), BASE) is None


@given(st.lists(st.text(max_size=60), max_size=6), st.sampled_from([*AAC, "m=audio 0 RTP/AVP 0"]))
def test_parsing_audio_never_raises(noise: list[str], line: str):
    sdp.parse_audio("\n".join([*VIDEO, line, *(f"a={text}" for text in noise)]).encode(), BASE)


def client(audio_codecs: frozenset[str] = frozenset({"aac"})) -> Client:
    one = Client(BASE, None, cnonce=str, audio_codecs=audio_codecs)
    one.send_buffer.clear()
    return one


def answered(one: Client, status: int, *headers: tuple[str, str], body: bytes = b"") -> str:
    one.feed(Message(status, "", headers, body))
    text = one.send_buffer.decode()
    one.send_buffer.clear()
    return text


def set_up(one: Client, *lines: str) -> str:
    """Answers requests up to the video's SETUP; returns the next request."""
    answered(one, 200)
    answered(one, 200, body=described(*lines))
    return answered(one, 200, ("session", "s"), ("transport", "RTP/AVP/TCP;interleaved=0-1"))


def test_audio_is_set_up_after_the_video_in_the_same_session():
    one = client()
    asked = set_up(one, *AAC)
    assert asked.startswith(f"SETUP {BASE}/a RTSP/1.0")
    assert "interleaved=2-3" in asked
    assert "Session: s\r\n" in asked
    assert answered(one, 200, ("transport", "RTP/AVP/TCP;interleaved=4-5")).startswith("PLAY ")
    answered(one, 200)
    assert (one.is_playing, one.audio_track_index) == (True, 1)


@pytest.mark.parametrize("status", [302, 400, 401, 404, 455, 461, 500])
def test_video_plays_alone_if_the_camera_refuses_setup_of_audio(status: int):
    one = client()
    set_up(one, *AAC)
    assert answered(one, status).startswith("PLAY ")
    answered(one, 200)
    assert (one.is_playing, one.audio_track_index, len(one.transports)) == (True, None, 1)
    assert one.redirect is None


def test_video_plays_alone_if_audio_would_come_over_another_transport():
    one = client()
    set_up(one, *AAC)
    assert answered(one, 200, ("transport", "RTP/AVP;client_port=2-3")).startswith("PLAY ")
    assert (one.audio_track_index, len(one.transports)) == (None, 1)


@pytest.mark.parametrize("lines", [[], ["m=audio 0 RTP/AVP 0"], [AAC[0], AAC[1]]])
def test_unwanted_or_unsupported_audio_is_not_set_up(lines: list[str]):
    one = client()
    assert set_up(one, *lines).startswith("PLAY ")
    silent = client(frozenset())
    assert set_up(silent, *AAC).startswith("PLAY ")


def session(*lines: str, audio_codecs: frozenset[str] = frozenset({"aac"})) -> Session:
    one = Session(client(audio_codecs), our_ssrc=9)
    body = described(*lines)
    ok = b"RTSP/1.0 200 OK\r\n"
    one.feed(ok + b"\r\n" + ok + f"Content-Length: {len(body)}\r\n\r\n".encode() + body, 0)
    one.feed((ok + b"Session: s\r\n\r\n") * 2 + ok + b"\r\n", 0)
    one.client.send_buffer.clear()
    assert one.client.audio_track_index == 1
    return one


def packet(seq: int, timestamp: int, payload: bytes, kind: int = 97, channel: int = 2) -> bytes:
    body = struct.pack(">BBHII", 0x80, kind | 0x80, seq & 0xFFFF, timestamp & 0xFFFF_FFFF, 5) + payload
    return bytes((0x24, channel)) + len(body).to_bytes(2, "big") + body


def aac(*units: bytes) -> bytes:
    headers = b"".join((len(unit) << 3).to_bytes(2, "big") for unit in units)
    return (16 * len(units)).to_bytes(2, "big") + headers + b"".join(units)


def report(timestamp: int) -> bytes:
    body = struct.pack(">BBHIIIIII", 0x80, 200, 6, 5, NTP_S, 0, timestamp & 0xFFFF_FFFF, 1, 1)
    return bytes((0x24, 3)) + len(body).to_bytes(2, "big") + body


def test_access_units_of_a_packet_have_consecutive_timestamps_across_the_wrap():
    one = session(*AAC)
    one.feed(packet(1, T0, aac(b"a", b"b")) + packet(2, T0 + 2048, aac(b"c")), 1_000_000)
    assert one.drain_audio() == [
        AudioUnit(b"a", T0, 1_000_000 - 128_000),
        AudioUnit(b"b", T0 + 1024, 1_000_000 - 64_000),
        AudioUnit(b"c", T0 + 2048, 1_000_000 - 64_000),
    ]
    assert one.drain_audio() == []
    assert one.drain_video() == []


def test_camera_time_is_set_after_the_first_sender_report():
    one = session(*AAC)
    one.feed(packet(1, T0, aac(b"a")) + report(T0 + 16_000) + packet(2, T0 + 1024, aac(b"b")), 1)
    assert [unit.camera_us for unit in one.drain_audio()] == [None, CAMERA_US - 1_000_000 + 64_000]


def test_a_lost_packet_drops_only_the_incomplete_access_unit():
    one = session(*AAC)
    partial = (16).to_bytes(2, "big") + (200 << 3).to_bytes(2, "big") + bytes(100)
    rest = [packet(3, T0 + 1024, partial), packet(4, T0 + 2048, aac(b"c"))]
    one.feed(b"".join([packet(1, T0, partial), *rest]), 1)
    assert [unit.data for unit in one.drain_audio()] == [b"c"]


def test_g711_payloads_are_returned_unchanged():
    one = session("m=audio 0 RTP/AVP 8", "a=control:a", audio_codecs=frozenset({"pcm_alaw"}))
    malformed = bytes((0x24, 2, 0, 1)) + b"x"
    one.feed(packet(1, 0, b"x" * 160, kind=8) + packet(2, 160, b"", kind=8) + malformed, 500_000)
    assert one.drain_audio() == [AudioUnit(b"x" * 160, 0, 480_000)]


def test_malformed_packets_other_payload_types_and_bye_are_ignored():
    one = session(*AAC)
    noise = [packet(1, T0, b""), packet(2, T0, aac(b"x"), kind=98), bytes((0x24, 2, 0, 1)) + b"x"]
    noise += [bytes((0x24, 3, 0, 1)) + b"x", bytes.fromhex("24030008 81cb0001 00000005")]
    one.feed(b"".join([*noise, packet(3, T0 + 1024, aac(b"b"))]), 1)
    assert [unit.data for unit in one.drain_audio()] == [b"b"]
    assert not one.has_bye


def test_receiver_reports_are_sent_for_audio_too():
    one = session(*AAC)
    one.keep_alive(0)
    assert not one.client.send_buffer
    one.feed(packet(7, T0, aac(b"a")) + report(T0), 1_000_000)
    one.keep_alive(6_000_000)
    assert one.client.send_buffer.startswith(bytes.fromhex("2403"))
    assert one.client.send_buffer[4 + 28 : 4 + 32] == (5 * 65_536).to_bytes(4, "big")


@given(st.lists(st.tuples(st.binary(max_size=60), st.sampled_from([2, 3])), max_size=8))
def test_any_bytes_on_the_audio_channels_do_not_affect_the_video(noise: list[tuple[bytes, int]]):
    one = session(*AAC)
    for n, (data, channel) in enumerate(noise):
        one.feed(bytes((0x24, channel)) + len(data).to_bytes(2, "big") + data, n)
        one.feed(packet(n, n * 1024, data), n)
    assert all(unit.data for unit in one.drain_audio())
    one.feed(packet(1, 0, b"\x41\x9a", kind=96, channel=0), 9)
    assert [picture.nals for picture in one.close()] == [(b"\x41\x9a",)]


def test_pending_audio_units_are_bounded():
    one = session(*AAC)
    for n in range(MAX_PENDING_UNITS + 5):
        one.feed(packet(n, n * 1024, aac(b"a")), n)
    assert len(one.drain_audio()) == MAX_PENDING_UNITS
