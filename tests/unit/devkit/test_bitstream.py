# The type stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false
import io
import itertools
import random
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit import bitstream
from districam_devkit.bitstream import Codec, RunningNumber
from districam_devkit.simcam.clips import Footage, footage_file, open_clip

CODECS: tuple[Codec, ...] = ("h264", "hevc")
SLICES = {"h264": b"\x65\x88\x84", "hevc": b"\x26\x01\xaf"}
SETS = {"h264": [b"\x67\x42\x00\x1e", b"\x68\xce"], "hevc": [b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc1"]}

numbers = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2, 3, 0x000003, 0x00000300000001]))
camera_ids = st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,62}\Z")


@given(st.sampled_from(CODECS), numbers, numbers, camera_ids)
def test_a_frame_number_is_read_back_from_an_access_unit(codec: Codec, number: int, sent_us: int, camera_id: str):
    running = RunningNumber(number, sent_us, camera_id)
    sei = bitstream.running_number_sei(codec, running)
    nals = bitstream.insert_sei(codec, [*SETS[codec], SLICES[codec]], sei)
    assert nals[-1] == SLICES[codec]
    assert bitstream.parse_running_number(codec, nals) == running
    for start_code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"):
        assert start_code not in sei
    assert bitstream.split_annexb(bitstream.join_annexb(nals)) == nals
    assert bitstream.split_length_prefixed(bitstream.join_length_prefixed(nals)) == nals


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255])).map(bytes))
def test_emulation_prevention_is_reversible_and_hides_start_codes(payload: bytes):
    rbsp = payload + b"\x80"
    escaped = bitstream.escape(rbsp)
    assert not any(code in escaped for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))
    assert bitstream.unescape(escaped) == rbsp


@pytest.mark.parametrize("codec", CODECS)
def test_other_sei_messages_are_no_frame_number(codec: Codec):
    foreign = bitstream.running_number_sei(codec, RunningNumber(7, 8, "cam-001")).replace(b"\xd1\x57", b"\xd1\x58")
    assert bitstream.parse_running_number(codec, [foreign, SLICES[codec]]) is None
    assert bitstream.parse_running_number(codec, []) is None
    assert bitstream.insert_sei(codec, SETS[codec], foreign) == SETS[codec]


def test_a_nal_unit_that_overruns_is_rejected():
    with pytest.raises(ValueError, match="overruns"):
        bitstream.split_length_prefixed(b"\0\0\0\5abc")


def test_a_stored_segment_has_its_numbers_times_and_keyframes():
    expected = [(number, 10 * number, "cam-001") for number in range(250)]
    segment, packets = _segment(expected)
    pictures = bitstream.parse_stored_pictures(segment)
    assert [(p.number, p.sent_us, p.camera_id) for p in pictures] == expected
    assert [p.is_keyframe for p in pictures] == [is_keyframe for is_keyframe, _, _ in packets]
    assert {later.dts - former.dts for former, later in itertools.pairwise(pictures)} == {512}
    shown = [sample.dts + sample.composition_offset for sample in bitstream.samples(segment)]
    assert [pts - shown[0] for pts in shown] == [pts - packets[0][2] for _, _, pts in packets]


@pytest.mark.parametrize("cut", [0, 10, 400])
def test_bytes_that_are_no_segment_are_rejected(cut: int):
    segment, _ = _segment([(0, 0, "cam-001")] * 250)
    with pytest.raises(ValueError):
        bitstream.parse_stored_pictures(segment[:cut])


def test_garbage_after_the_init_is_rejected():
    segment, _ = _segment([(0, 0, "cam-001")] * 250)
    init = segment[: segment.index(b"moof") - 4]
    with pytest.raises(ValueError):
        bitstream.parse_stored_pictures(init + random.Random(1).randbytes(500))


def _segment(running: list[tuple[int, int, str]]) -> tuple[bytes, list[tuple[bool, int, int]]]:
    """`bikes` (B-frames, six GOPs) with these numbers, as init and one fragment per GOP; also flags, dts and pts."""
    sink = io.BytesIO()
    options = {"movflags": "empty_moov+default_base_moof+frag_keyframe+skip_trailer"}
    packets: list[tuple[bool, int, int]] = []
    with av.open(str(footage_file("bikes"))) as source, av.open(sink, "w", format="mp4", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.pts is None or packet.dts is None:
                continue
            sei = bitstream.running_number_sei("h264", RunningNumber(*running[len(packets)]))
            nals = bitstream.insert_sei("h264", bitstream.split_length_prefixed(bytes(packet)), sei)
            numbered = av.Packet(bitstream.join_length_prefixed(nals))
            numbered.stream, numbered.time_base = stream, packet.time_base
            numbered.pts, numbered.dts, numbered.duration = packet.pts, packet.dts, packet.duration
            numbered.is_keyframe = packet.is_keyframe
            packets.append((packet.is_keyframe, packet.dts, packet.pts))
            target.mux(numbered)
    return sink.getvalue(), packets


def test_parameter_sets_of_real_footage(tmp_path: Path):
    clip = open_clip(Footage("bigbuckbunny"), cache=tmp_path)
    assert [bitstream.nal_type("h264", nal) for nal in clip.parameter_sets] == [7, 8]
    assert (clip.width, clip.height, clip.fps, len(clip.access_units)) == (1280, 720, 25, 132)
