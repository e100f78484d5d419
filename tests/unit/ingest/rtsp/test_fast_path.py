"""The fast path for interleaved packets gives the same pictures as one packet at a time."""

import struct
from dataclasses import dataclass
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from districam_devkit.bitstream import Codec
from districam_devkit.simcam import rtp
from districam_ingest.rtsp.video_track import VideoTrack
from districam_ingest.units import Picture
from unit.ingest.rtsp.test_session import SETS, over_udp, session

FIRST: dict[Codec, bytes] = {"h264": b"\x41\x9a", "hevc": b"\x02\x01\x80"}
SECOND: dict[Codec, bytes] = {"h264": b"\x41\x20", "hevc": b"\x02\x01\x20"}


@dataclass(frozen=True)
class Sent:
    """A packet, and what happens to it on the way."""

    payload: bytes
    timestamp: int
    marker: bool
    fate: str


def film(codec: Codec, sizes: list[list[int]], mtu: int, fates: list[str]) -> list[Sent]:
    """Pictures of slices of these sizes, in packets."""
    out: list[Sent] = []
    for number, slices in enumerate(sizes):
        heads = [FIRST[codec], *[SECOND[codec]] * len(slices)]
        nals = [head + bytes(size) for head, size in zip(heads, slices, strict=False)]
        payloads = rtp.payloads(codec, nals, mtu)
        for index, payload in enumerate(payloads):
            fate = fates[len(out) % len(fates)]
            out.append(Sent(payload, number * 3600, index == len(payloads) - 1, fate))
    return out


def framed(channel: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0x24, channel, len(body)) + body


def packet(seq: int, one: Sent) -> bytes:
    marker = 0 if one.fate == "unmarked" else one.marker << 7
    kind = 97 if one.fate == "other kind" else 96
    ssrc = 6 if one.fate == "other source" else 5
    flags = 0xA0 if one.fate == "padded" else 0x80
    changed = {"padded": one.payload + b"\0\0\3", "cut off": one.payload[:1], "empty": b""}
    payload = changed.get(one.fate, one.payload)
    header = struct.pack(">BBHII", flags, kind | marker, seq & 0xFFFF, one.timestamp, ssrc)
    return framed(4 if one.fate == "other channel" else 0, header + payload)


def wire(sent: list[Sent]) -> bytes:
    """Packets as received: some lost, duplicated, of another type, SSRC or channel, padded, truncated."""
    report = rtp.sender_report(channel=1, ssrc=5, now_us=9, timestamp=0, packets=1, octets=1)
    out: list[bytes] = []
    for seq, one in enumerate(sent, 65_530):
        if one.fate != "lost":
            out += [packet(seq, one)] * (2 if one.fate == "twice" else 1)
        if one.fate == "reported":
            out.append(report)
    return b"".join(out)


def no_fast_path(_stream: VideoTrack, _data: bytes, at: int, _channel: int, _at_us: int) -> int:
    return at


def read(codec: Codec, chunks: list[bytes]) -> tuple[list[Picture], bytes | None]:
    """The pictures, and the receiver report."""
    one = session(codec, SETS if codec == "h264" else "")
    pictures: list[Picture] = []
    for at_us, chunk in enumerate(chunks, 1):
        one.feed(chunk, at_us)
        pictures += one.drain_video()
    one.keep_alive(10_000_000)
    return pictures + one.close(), bytes(one.client.send_buffer)


FATES = st.sampled_from(
    [
        *["sent"] * 12,
        *("lost", "twice", "unmarked", "other kind", "other source", "other channel"),
        *("padded", "cut off", "empty", "reported"),
    ]
)


@pytest.mark.interpreted
@given(
    st.sampled_from(["h264", "hevc"]),
    st.lists(st.lists(st.integers(0, 90), min_size=1, max_size=3), min_size=1, max_size=12),
    st.integers(8, 40),
    st.lists(FATES, min_size=1, max_size=40),
    st.lists(st.integers(1, 3000), max_size=8),
)
@example("h264", [[90, 90]] * 12, 20, ["sent"], [100, 333])
@example("hevc", [[90, 90]] * 12, 20, ["sent"] * 9 + ["lost"], [100, 333])
def test_the_fast_path_returns_the_same_pictures(
    codec: Codec, sizes: list[list[int]], mtu: int, fates: list[str], cuts: list[int]
):
    data = wire(film(codec, sizes, mtu, fates))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[start:end] for start, end in pairwise(edges)]
    fast = read(codec, chunks)
    with patch.object(VideoTrack, "feed_batch", no_fast_path):
        one_by_one = read(codec, chunks)
    assert fast == one_by_one


@pytest.mark.interpreted
def test_nearly_all_packets_take_the_fast_path():
    """Otherwise it would not save CPU."""
    data = wire(film("h264", [[5000]] * 50, 1400, ["sent"]))
    slow: list[int] = []
    one = session()
    original = VideoTrack.feed

    def feed(self: VideoTrack, packet: bytes, at_us: int) -> None:
        slow.append(at_us)
        original(self, packet, at_us)

    with patch.object(VideoTrack, "feed", feed):
        one.feed(data, 1)
    assert len(slow) == 1
    assert len(one.drain_video()) >= 49


@pytest.mark.parametrize("mtu", [60, 1400])
def test_the_fast_path_returns_the_same_pictures_as_udp(mtu: int):
    sent = film("h264", [[5000, 90], [30], [700]] * 20, mtu, ["sent"])
    fast, one_by_one = session(), over_udp()
    for seq, one in enumerate(sent, 65_530):
        framed_packet = packet(seq, one)
        fast.feed(framed_packet, seq)
        one_by_one.feed_datagram(framed_packet[4:], seq, track_index=0, is_rtcp=False)
    pictures = fast.drain_video() + fast.close()
    assert len(pictures) == 60
    assert pictures == one_by_one.drain_video() + one_by_one.close()


def test_interleaved_packets_are_ignored_if_the_stream_is_over_udp():
    one = over_udp()
    one.feed(wire(film("h264", [[5000]] * 3, 1400, ["sent"])), 1)
    assert one.drain_video() + one.close() == []
