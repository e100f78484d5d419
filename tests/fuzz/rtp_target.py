"""RTP and RTCP: packets of a camera's video and audio, in any order.

An input is a byte of settings, then packets: a type byte, a length of one or two bytes, and data. Most
packets get the stream's next header, so that only the payload has to be guessed.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress

from districam_ingest.codec.aac import parse_audio_specific_config
from districam_ingest.rtsp.aac_depacketizer import AuHeaderFormat
from districam_ingest.rtsp.audio_track import MAX_PENDING_UNITS as SOUNDS_MOST
from districam_ingest.rtsp.audio_track import AudioTrack
from districam_ingest.rtsp.framing import Framer
from districam_ingest.rtsp.jitter_buffer import MAX_HELD_PACKETS, JitterBuffer
from districam_ingest.rtsp.message import Message, RtspError
from districam_ingest.rtsp.sdp import AudioMedia, VideoMedia
from districam_ingest.rtsp.video_track import VideoTrack
from districam_ingest.units import Picture
from fuzz.target import Target, require

IS_HEVC, HAS_FIELDS, IS_UDP, HAS_AAC = (1 << n for n in range(4))
RAW, NEXT, NEXT_PICTURE, REPORT, AUDIO_RAW, AUDIO_NEXT, AUDIO_REPORT, TICK = range(8)
MARKED, IS_LONG = 0x08, 0x80
VIDEO_PAYLOAD_TYPE, AUDIO_PAYLOAD_TYPE, SSRC = 96, 97, b"\0\0\0\5"
Packet = tuple[int, bytes]


def run(data: bytes) -> None:
    """May raise only the error for a too large picture; batches must give the same as single packets."""
    if not data:
        return
    settings, packets = data[0], list(_packets(data[1:]))
    pictures = _one_by_one(settings, packets)
    if not settings & IS_UDP:
        require(_skimmed(settings, packets) == pictures, "skimmed packets give other pictures than the same one by one")


def _stream(settings: int) -> VideoTrack:
    video = VideoMedia(
        "hevc" if settings & IS_HEVC else "h264", VIDEO_PAYLOAD_TYPE, (), "rtsp://camera/0", "rtsp://camera"
    )
    return VideoTrack(video, has_fields=bool(settings & HAS_FIELDS))


def _one_by_one(settings: int, packets: list[Packet]) -> list[tuple[object, ...]]:
    stream, reordering, now_us = _stream(settings), JitterBuffer(), 0
    audio_track = AudioTrack(
        AudioMedia(
            "aac",
            AUDIO_PAYLOAD_TYPE,
            16_000,
            "",
            parse_audio_specific_config(b"\x14\x08", 16_000),
            AuHeaderFormat(13, 3, 3),
        )
        if settings & HAS_AAC
        else AudioMedia("pcm_mulaw", AUDIO_PAYLOAD_TYPE, 8_000, "")
    )
    got: list[Picture] = []
    with suppress(RtspError):
        for op, packet in packets:
            if op in {RAW, NEXT, NEXT_PICTURE}:
                ordered = reordering.feed(packet, now_us) if settings & IS_UDP else [(packet, now_us)]
                for one, at_us in ordered:
                    stream.feed(one, at_us)
            elif op == REPORT:
                stream.feed_rtcp(packet, now_us)
            elif op == AUDIO_REPORT:
                audio_track.feed_rtcp(packet, now_us)
            elif op == TICK:
                now_us += 10_000 * (1 + len(packet)) if settings & IS_UDP else 0
                for one, at_us in reordering.drain(now_us):
                    stream.feed(one, at_us)
                stream.receiver_report(1, now_us)
                audio_track.receiver_report(1, now_us)
            else:
                audio_track.feed(packet, now_us)
            require(reordering.held_count <= MAX_HELD_PACKETS, f"{reordering.held_count} packets wait for others")
            got += stream.drain()
        for one, at_us in reordering.drain_all():
            stream.feed(one, at_us)
    require(len(audio_track.drain()) <= SOUNDS_MOST, "more sound is held than may be")
    with suppress(RtspError):
        stream.close()
    got += stream.drain()
    size = sum(len(nal) for picture in got for nal in picture.nals)
    require(size <= 2 * sum(len(packet) for _, packet in packets) + 64, f"{size} bytes out of fewer bytes in")
    return [_comparable(picture) for picture in got]


def _skimmed(settings: int, packets: list[Packet]) -> list[tuple[object, ...]]:
    """Results for the video's packets and reports, over a connection."""
    stream, framer = _stream(settings), Framer()
    sent = b"".join(
        struct.pack(">BBH", 0x24, int(op == REPORT), len(packet)) + packet
        for op, packet in packets
        if op in {RAW, NEXT, NEXT_PICTURE, REPORT}
    )
    with suppress(RtspError):
        for item in framer.feed(sent, lambda data, at: stream.feed_batch(data, at, 0, 0)):
            assert not isinstance(item, Message)
            (stream.feed_rtcp if item[0] else stream.feed)(item[1], 0)
    with suppress(RtspError):
        stream.close()
    return [_comparable(picture) for picture in stream.drain()]


def _comparable(picture: Picture) -> tuple[object, ...]:
    return (picture.nals, picture.pts, picture.arrival_us, picture.camera_us, picture.lost_packets, picture.is_damaged)


def _packets(data: bytes) -> Iterator[Packet]:
    at, seq, timestamp, audio_seq = 0, 0, 0, 0
    while at + 2 <= len(data):
        op, size, begins = data[at], data[at + 1], at + 2
        if op & IS_LONG:
            size, begins = int.from_bytes(data[at + 1 : at + 3], "big"), at + 3
        body, at = data[begins : begins + size], begins + size
        kind, marked = op & 7, 0x80 if op & MARKED else 0
        if kind in {NEXT, NEXT_PICTURE}:
            seq, timestamp = seq + 1 & 0xFFFF, timestamp + 3600 * (kind == NEXT_PICTURE)
            body = struct.pack(">BBHI", 0x80, VIDEO_PAYLOAD_TYPE | marked, seq, timestamp) + SSRC + body
        elif kind == AUDIO_NEXT:
            audio_seq = audio_seq + 1 & 0xFFFF
            body = struct.pack(">BBHI", 0x80, AUDIO_PAYLOAD_TYPE | marked, audio_seq, audio_seq * 1024) + SSRC + body
        yield kind, body


def _op(kind: int, body: bytes) -> bytes:
    if len(body) > 255:
        return bytes((kind | IS_LONG,)) + len(body).to_bytes(2, "big") + body
    return bytes((kind, len(body))) + body


def _raw(
    seq: int, timestamp: int, payload: bytes, *, first: int = 0x80, kind: int = VIDEO_PAYLOAD_TYPE | 0x80
) -> bytes:
    return _op(RAW, struct.pack(">BBHI", first, kind, seq, timestamp) + SSRC + payload)


def seeds() -> list[bytes]:
    single = [_op(NEXT_PICTURE | MARKED, nal + bytes(6)) for nal in (b"\x65\x88", *[b"\x41\x9a"] * 11)]
    stap = _op(NEXT_PICTURE, b"\x18\0\4\x67\x42\xc0\x1e\0\4\x68\xce\x0f\xc8\0\3\x65\x88\x84")
    fu = [_op(NEXT, bytes((0x7C, flags | 5)) + b"abc") for flags in (0x80, 0, 0, 0x40)]
    fu_hevc = [_op(NEXT, bytes((0x62, 1, flags | 19)) + b"abcd") for flags in (0x80, 0, 0x40)]
    ap_hevc = _op(NEXT_PICTURE | MARKED, b"\x60\1\0\4\x40\1\x0c\1\0\4\x42\1\1\1\0\4\x26\1\xaf\x08")
    sender = _op(
        REPORT,
        bytes.fromhex("80c8000600000005e8f0a1b2c3d4e5f600000e100000000100000001")
        + bytes.fromhex("81ca0002000000050103616263000000"),
    )
    aac = _op(AUDIO_NEXT, b"\0\x10\0\x40" + bytes(8))
    parts = [
        _op(AUDIO_RAW, struct.pack(">BBHI", 0x80, AUDIO_PAYLOAD_TYPE, n, 9) + SSRC + b"\0\x10\0\x80" + bytes(8))
        for n in range(2)
    ]
    extended = _raw(1, 0, b"\xbe\xde\0\1\1\2\3\4\x65\x88\x80", first=0x90)
    padded = _raw(2, 0, b"\x41\x9a\x80\0\0\3", first=0xA0)
    sources = _raw(3, 3600, b"\0\0\0\1\0\0\0\2\x41\x9a\x80", first=0x82)
    swapped = [_raw(n, 3600 * (n // 2), b"\x41\x9a" + bytes(4)) for n in (0, 2, 1, 4, 5, 3, 9, 8, 7)]
    leaps = [_raw(n, 3600, b"\x41\x9a" + bytes(4)) for n in (1, 5, 9000, 9001, 9001, 3, 65535, 0)]
    return [
        b"\0" + b"".join(single),
        b"\0" + stap + b"".join(fu) + b"".join(single[:3]),
        b"\0" + b"".join(fu[:2]) + single[0] + b"".join(fu[1:]),
        b"\1" + ap_hevc + b"".join(fu_hevc) + _op(NEXT_PICTURE, b"\2\1\xd0\x09"),
        b"\x08"
        + sender
        + single[0]
        + aac * 3
        + b"".join(parts)
        + _op(AUDIO_REPORT, bytes.fromhex("80c8000600000005e8f0a1b2c3d4e5f60000040000000001000000ff")),
        b"\0" + _op(AUDIO_NEXT, bytes(40)) * 3 + single[0] + _op(REPORT, bytes.fromhex("81cb000100000005")),
        b"\4" + b"".join(swapped) + _op(TICK, bytes(20)) + single[1],
        b"\4" + b"".join(leaps) + _op(TICK, bytes(16)),
        b"\2" + extended + padded + sources + b"".join(leaps),
        b"\0"
        + _op(NEXT, b"\x7c\x85" + bytes(300))
        + _op(NEXT, b"\x7c\5" + bytes(300))
        + _op(NEXT | MARKED, b"\x7c\x45" + bytes(300)),
    ]


RTP = Target(
    name="rtp",
    run=run,
    seeds=seeds,
    max_bytes=3000,
    dictionary=(
        SSRC,
        b"\x80\x60",
        b"\x80\xe0",
        b"\x7c\x85",
        b"\x7c\x05",
        b"\x7c\x45",
        b"\x62\x01\x93",
        b"\x80\xc8\0\6",
        b"\x81\xcb\0\1",
        b"\x18\0",
    ),
)
