import itertools
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit.bitstream import Codec
from districam_devkit.simcam import rtp
from districam_devkit.simcam.clips import Clip, ClipSource, Footage, Generated, open_clip

HEADERS = {"h264": [b"\x65", b"\x41", b"\x06"], "hevc": [b"\x26\x01", b"\x02\x01", b"\x4e\x01"]}
access_units = st.sampled_from(["h264", "hevc"]).flatmap(
    lambda codec: st.tuples(
        st.just(codec),
        st.lists(
            st.tuples(st.sampled_from(HEADERS[codec]), st.integers(1, 5000)).map(
                lambda drawn: drawn[0] + bytes(index % 251 for index in range(drawn[1]))
            ),
            min_size=1,
            max_size=6,
        ),
    )
)


def depacketize(codec: Codec, payloads: Sequence[bytes]) -> list[bytes]:
    """A depacketizer for RFC 6184 and RFC 7798, as far as the simulator uses them."""
    nals: list[bytes] = []
    for payload in payloads:
        kind = payload[0] & 0x1F if codec == "h264" else payload[0] >> 1 & 0x3F
        if kind not in (28, 49):
            nals.append(payload)
            continue
        size = 1 if codec == "h264" else 2
        unit = payload[size]
        if unit & 0x80:
            head = (
                bytes([payload[0] & 0xE0 | unit & 0x1F])
                if codec == "h264"
                else bytes([payload[0] & 0x81 | (unit & 0x3F) << 1, payload[1]])
            )
            nals.append(head)
        nals[-1] += payload[size + 1 :]
    return nals


@given(access_units, st.integers(40, 1400))
def test_packets_are_reassembled_to_the_nal_units(drawn: tuple[Codec, list[bytes]], mtu: int):
    codec, nals = drawn
    payloads = rtp.payloads(codec, nals, mtu)
    assert depacketize(codec, payloads) == nals
    assert max(map(len, payloads)) <= mtu


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 0xFFFF))
def test_each_frame_has_one_marker_and_rising_sequence_numbers(count: int, writes: int, seq: int):
    units = [bytes([index]) * (index + 1) for index in range(count)]
    packets = rtp.interleaved(units, channel=2, seq=seq, timestamp=5, ssrc=9)
    chunks = rtp.chunks(packets, writes)
    assert len(chunks) == min(writes, count)
    data = b"".join(chunks)
    for index, unit in enumerate(units):
        dollar, channel, length, flags, kind, number, timestamp, ssrc = struct.unpack_from(">BBHBBHII", data)
        assert (dollar, channel, flags, timestamp, ssrc) == (0x24, 2, 0x80, 5, 9)
        assert number == (seq + index) % 65536
        assert kind == (96 | 0x80 if index == count - 1 else 96)
        assert data[16 : 4 + length] == unit
        data = data[4 + length :]
    assert data == b""


def test_a_sender_report_ties_wall_clock_to_timestamp():
    data = rtp.sender_report(channel=1, ssrc=7, now_us=1_500_000, timestamp=90, packets=3, octets=400)
    assert data[:2] == b"$\x01"
    assert struct.unpack_from(">H", data, 2)[0] == len(data) - 4
    flags, kind, words, ssrc, seconds, fraction, timestamp, packets, octets = struct.unpack_from(">BBH6I", data, 4)
    assert (flags, kind, words, ssrc) == (0x80, 200, 6, 7)
    assert (seconds - 2_208_988_800, fraction, timestamp, packets, octets) == (1, 1 << 31, 90, 3, 400)
    # the compound packet continues with SDES; lengths are in 32-bit words
    _, kind, words = struct.unpack_from(">BBH", data, 4 + 28)
    assert (kind, 4 + 28 + 4 * (words + 1)) == (202, len(data))


@pytest.mark.parametrize(
    "source",
    [
        Footage("bikes"),
        Footage("bigbuckbunny"),
        Generated(width=128, height=96, fps=30000 / 1001, seconds=1, gop_s=0.5, b_frames=2, bitrate=100_000),
        Generated(codec="hevc", width=128, height=96, fps=12, seconds=1, gop_s=0.5, b_frames=1, bitrate=100_000),
    ],
)
def test_a_clip_loops_with_continuous_timestamps(source: ClipSource, tmp_path: Path):
    clip = open_clip(source, cache=tmp_path)
    twice = [
        (unit.pts + lap * clip.duration, unit.dts + lap * clip.duration) for lap in (0, 1) for unit in clip.access_units
    ]
    tick = Fraction(90_000) / clip.fps
    for times in (sorted(pts for pts, _ in twice), [dts for _, dts in twice]):
        assert all(abs(later - former - tick) < 1 for former, later in itertools.pairwise(times))
    assert all(dts <= pts for pts, dts in twice)
    assert min(pts for pts, _ in twice) == 0
    assert clip.access_units[0].is_keyframe


def test_a_generated_clip_has_the_requested_parameters_and_is_cached(tmp_path: Path):
    source = Generated(codec="hevc", width=160, height=96, fps=10, seconds=2, gop_s=1, bitrate=100_000, label="x")
    clip: Clip = open_clip(source, cache=tmp_path)
    assert (clip.codec, clip.width, clip.height, clip.fps) == ("hevc", 160, 96, 10)
    assert [index for index, unit in enumerate(clip.access_units) if unit.is_keyframe] == [0, 10]
    (file,) = tmp_path.iterdir()
    made = file.stat().st_mtime_ns
    assert open_clip(source, cache=tmp_path) == clip
    assert file.stat().st_mtime_ns == made
