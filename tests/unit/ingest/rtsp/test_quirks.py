"""Cameras that violate the RFCs (docs/cameras.md): a stream with any quirk is read like one without."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import get_args

import pytest

from districam_devkit.bitstream import Codec
from districam_devkit.simcam import protocol, rtp, rtp_quirks, sdp
from districam_devkit.simcam.behavior import (
    BaseQuirk,
    DescriptionQuirk,
    PacketQuirk,
    PayloadQuirk,
    Quirk,
    ReportQuirk,
    ResponseQuirk,
    TransportQuirk,
)
from districam_devkit.simcam.clips import AccessUnit, Clip
from districam_ingest.recording.epoch_splitter import Append, EpochSplitter, Start
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.framing import Framer
from districam_ingest.rtsp.message import Message
from districam_ingest.rtsp.sdp import VideoMedia, base_url, parse_video
from districam_ingest.rtsp.session import Session
from districam_ingest.units import Picture

URL = "rtsp://camera/cam"
SETS: dict[Codec, tuple[bytes, ...]] = {
    "h264": (bytes.fromhex("6742c01eda0280bfe584000003000400000300c83c58ba80"), bytes.fromhex("68ce0fc8")),
    "hevc": (
        bytes.fromhex("40010c01ffff016000000300900000030000030078959809"),
        bytes.fromhex("420101016000000300900000030000030078a0028080bfe5966664dacb90c0"),
        bytes.fromhex("4401c172b46240"),
    ),
}
SEI: dict[Codec, bytes] = {"h264": b"\x06\xf0\x01\x07\x80", "hevc": b"\x4e\x01\xf0\x01\x07\x80"}
KEY: dict[Codec, bytes] = {"h264": b"\x65\x88", "hevc": b"\x26\x01\x80"}
OTHER: dict[Codec, bytes] = {"h264": b"\x41\x9a", "hevc": b"\x02\x01\x80"}
SSRC, INTERVAL, GOP, PICTURES = 5, 3600, 12, 40
NTP_US = 1_700_000_000_000_000
WHOLE: frozenset[Quirk] = frozenset()


def clip(codec: Codec) -> Clip:
    unit = AccessUnit((KEY[codec],), is_keyframe=True, pts=0, dts=0)
    return Clip(codec, SETS[codec], (unit,), Fraction(25), 1280, 720, 3600)


def units(codec: Codec, number: int) -> list[bytes]:
    """NAL units of one picture: keyframes are fragmented, the others are one packet."""
    text = number.to_bytes(2, "big") + b"\x55"
    if number % GOP:
        return [SEI[codec], OTHER[codec] + text * 20]
    return [*SETS[codec], SEI[codec], KEY[codec] + text * 1000]


def sent(codec: Codec, quirks: frozenset[Quirk], channel: int = 0) -> Iterator[bytes]:
    """A sender report, then each picture's packets as the simulator sends them."""
    seq = 0xFFF0
    report = rtp.sender_report(channel=channel + 1, ssrc=SSRC, now_us=NTP_US, timestamp=0, packets=0, octets=0)
    yield rtp_quirks.report(report, quirks)
    for number in range(PICTURES):
        payloads = rtp_quirks.payloads(codec, units(codec, number), quirks)
        regular = rtp.interleaved(
            payloads,
            channel=channel,
            seq=seq & 0xFFFF,
            timestamp=number * INTERVAL,
            ssrc=SSRC,
            payload_type=rtp.payload_type(quirks),
        )
        seq += len(regular)
        before = (number - 1) * INTERVAL & 0xFFFF_FFFF
        yield b"".join(rtp_quirks.packets(regular, quirks, codec=codec, previous_timestamp=before))


def responses(codec: Codec, quirks: frozenset[Quirk]) -> list[bytes]:
    """To OPTIONS, DESCRIBE, SETUP and PLAY."""
    body = sdp.describe(clip(codec), URL, quirks)
    transport = protocol.format_transport(
        "RTP/AVP/TCP;unicast;interleaved=0-1", quirks, ssrc=SSRC, host="192.0.2.1", peer="192.0.2.2"
    )
    headers: list[list[tuple[str, str]]] = [
        [("Public", "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER")],
        [*sdp.content_base(URL, quirks), ("Content-Type", "application/sdp")],
        [("Transport", transport), ("Session", "abc;timeout=60")],
        [("Session", "abc;timeout=60")],
    ]
    return [
        protocol.response(200, str(n), fields, body if n == 2 else b"", quirks) for n, fields in enumerate(headers, 1)
    ]


def played(codec: Codec, quirks: frozenset[Quirk]) -> Session:
    session = Session(Client(URL, None, cnonce=str), our_ssrc=9)
    for response in responses(codec, quirks):
        session.feed(response, 0)
    assert session.client.is_playing
    return session


def read(codec: Codec, quirks: frozenset[Quirk]) -> list[Picture]:
    """All pictures of a session whose pictures arrive 40 ms apart."""
    session = played(codec, quirks)
    for at, data in enumerate(sent(codec, quirks)):
        session.feed(data, at * 40_000)
    return session.drain_video() + session.close()


def slices(pictures: Sequence[Picture]) -> list[tuple[int, bytes]]:
    """Timestamp and last slice of each picture."""
    kinds = range(1, 6)
    found: list[tuple[int, bytes]] = []
    for picture in pictures:
        is_hevc = picture.nals[-1][1:2] == b"\x01"
        own = [nal for nal in picture.nals if (nal[0] >> 1 < 32 if is_hevc else nal[0] & 31 in kinds)]
        found.append((picture.pts, own[-1]))
    return found


def video(quirks: frozenset[Quirk]) -> VideoMedia:
    headers = dict(sdp.content_base(URL, quirks))
    return parse_video(sdp.describe(clip("h264"), URL, quirks), base_url(URL, headers.get("Content-Base"), None))


@pytest.mark.parametrize("quirk", [*get_args(BaseQuirk), *get_args(DescriptionQuirk)])
def test_the_sdp_of_a_camera_with_a_quirk_is_parsed(quirk: Quirk):
    """SETUP's URL is that of the video, and parameter sets are the camera's, or absent: then they come in band."""
    regular, found = video(WHOLE), video(frozenset({quirk}))
    assert found.codec == "h264"
    assert found.payload_type == (35 if quirk == "payload-type-35" else 96)
    assert "/trackID=0" in found.control_url
    assert found.control_url.count("rtsp://") == 1
    if quirk not in {"foreign-base", "ipv6-base"}:
        assert found.control_url.removesuffix(sdp.QUERY) == regular.control_url
        assert found.aggregate_url.rstrip("/") == regular.aggregate_url.rstrip("/")
    if quirk in {"no-parameter-sets", "empty-parameter-sets", "fmtp-elsewhere"}:
        assert found.parameter_sets == ()
    else:
        assert tuple(nal.rstrip(b"\0") for nal in found.parameter_sets) == SETS["h264"]


@pytest.mark.parametrize("quirk", get_args(ResponseQuirk))
def test_the_response_of_a_camera_with_a_quirk_is_parsed(quirk: Quirk):
    response = protocol.response(200, "7", [("Session", "abc;timeout=15")], b"v=0", {quirk})
    (message,) = [item for item in Framer().feed(response) if isinstance(item, Message)]
    assert message.status == 200
    assert message.body == b"v=0"
    assert message.header("session") == "abc;timeout=15"


@pytest.mark.parametrize("quirk", get_args(TransportQuirk))
def test_the_channels_are_those_of_the_response(quirk: Quirk):
    assert slices(read("h264", frozenset({quirk}))) == slices(read("h264", WHOLE))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("quirk", [*get_args(PayloadQuirk), *get_args(PacketQuirk), *get_args(ReportQuirk)])
def test_packets_of_a_camera_with_a_quirk_give_the_same_pictures(quirk: Quirk, codec: Codec):
    """All pictures are complete, with their timestamps, and make up one epoch."""
    found = read(codec, frozenset({quirk}))
    assert slices(found) == slices(read(codec, WHOLE))
    assert [(p.lost_packets, p.is_damaged) for p in found] == [(0, False)] * PICTURES
    assert all(SEI[codec] in picture.nals for picture in found)
    assert all(set(SETS[codec]) <= set(picture.nals) for picture in found[::GOP])
    splitter = EpochSplitter(codec)  # only in-band parameter sets
    steps = [step for picture in found for step in splitter.decide(picture)]
    assert [type(step) for step in steps] == [Start, *[Append] * PICTURES]


@pytest.mark.parametrize("quirk", get_args(ReportQuirk))
def test_camera_time_is_known_only_from_usable_sender_reports(quirk: Quirk):
    times = {picture.camera_us for picture in read("h264", frozenset({quirk}))}
    knows = quirk in {"no-sdes-end", "short-report"}
    assert times == ({NTP_US + n * 40_000 for n in range(PICTURES)} if knows else {None})


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_packets_of_other_payload_types_do_not_disturb_reordering_over_udp(codec: Codec):
    """A Uniview camera gives them the sequence number of the next video packet."""
    client = Client(URL, None, cnonce=str, open_ports=lambda: (6000, 6001), over_udp=True)
    session = Session(client, our_ssrc=9)
    transport = [("Transport", "RTP/AVP;unicast;server_port=7000-7001"), ("Session", "abc")]
    session.feed(b"".join(responses(codec, WHOLE)[:2]), 0)
    session.feed(protocol.response(200, "3", transport) + protocol.response(200, "4"), 0)
    assert client.is_playing
    for at, data in enumerate(sent(codec, frozenset({"payload-type-50"}))):
        for item in Framer().feed(data):
            assert isinstance(item, tuple)
            channel, packet = item
            session.feed_datagram(packet, at * 40_000, track_index=0, is_rtcp=channel == 1)
    found = session.drain_video() + session.close()
    assert slices(found) == slices(read(codec, WHOLE))
    assert sum(picture.lost_packets for picture in found) == 0


def test_sei_after_a_picture_does_not_count_as_arrival_of_the_next_one():
    """It arrives with the previous picture: with that arrival an epoch would begin before its first picture."""
    found = read("h264", frozenset({"trailing-sei", "early-sets"}))
    assert [picture.arrival_us for picture in found] == [(n + 1) * 40_000 for n in range(PICTURES)]
