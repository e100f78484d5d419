# The stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
import io
import itertools

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.mp4 import boxes as mp4
from districam_common.mp4.writer import AudioSample
from districam_devkit import bitstream
from districam_ingest.codec import h264, h265
from districam_ingest.codec.nal import Codec
from districam_ingest.output.boxes import encode_moof_mdat
from districam_ingest.output.mux import mux_fragment, mux_init
from districam_ingest.recording.fragmenter import Fragmenter, FragmentLimits
from districam_ingest.units import AccessUnit
from unit.ingest.samples import BASELINE, TICKS_25, Encoded, encoded

Row = tuple[int | None, int | None, int, bool, bytes]


def init_of(stream: Encoded) -> bytes:
    video_parameters = (h264 if stream.codec == "h264" else h265).parse_video_parameters(stream.sets)
    return mux_init(video_parameters, stream.sets)


def demux_rows(data: bytes) -> list[Row]:
    with av.open(io.BytesIO(data), "r") as container:
        return [
            (packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, bytes(packet))
            for packet in container.demux(container.streams.video[0])
            if packet.size
        ]


def expected_rows(units: list[AccessUnit], last_ticks: int) -> list[Row]:
    durations = [later.dts - unit.dts for unit, later in itertools.pairwise(units)] + [last_ticks]
    return [
        (unit.pts, unit.dts, duration, unit.is_keyframe, unit.data)
        for unit, duration in zip(units, durations, strict=True)
    ]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("b_frames", "pyramid"), [(0, False), (2, False), (3, True)])
def test_a_demuxer_returns_every_access_unit(codec: Codec, *, b_frames: int, pyramid: bool):
    stream = encoded(codec, b_frames=b_frames, pyramid=pyramid)
    units = stream.units()
    assert demux_rows(init_of(stream) + encode_moof_mdat(units, TICKS_25)) == expected_rows(units, TICKS_25)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_fragments_cut_anywhere_join_into_one_decodable_stream(codec: Codec):
    stream = encoded(codec, b_frames=2)
    units = stream.units()
    fragmenter = Fragmenter("cam-001", FragmentLimits(fragment_max_us=300_000))
    fragments = [fragment for unit in units if (fragment := fragmenter.feed(unit))]
    fragments += [last] if (last := fragmenter.close(40_000)) else []
    assert len(fragments) > 5
    init = init_of(stream)
    values = [mux_fragment(init, fragment) for fragment in fragments]
    assert all(value.startswith(init) for value in values)
    segment = init + b"".join(value[len(init) :] for value in values)
    assert demux_rows(segment) == expected_rows(units, TICKS_25)
    with av.open(io.BytesIO(segment), "r") as container:
        frames = list(container.decode(video=0))
    assert [frame.pts for frame in frames] == sorted(unit.pts for unit in units)


@given(
    st.lists(
        st.tuples(st.integers(1, 1 << 24), st.integers(-(1 << 30), 1 << 30), st.booleans(), st.binary(max_size=40)),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 1 << 60),
    st.integers(1, 1 << 30),
)
def test_parsing_the_boxes_returns_the_access_units(
    parts: list[tuple[int, int, bool, bytes]], first_dts: int, last_ticks: int
):
    dts, units = first_dts, list[AccessUnit]()
    for step, offset, key, data in parts:
        units.append(AccessUnit(parts=(data,), start_us=0, dts=dts, pts=dts + offset, is_keyframe=key))
        dts += step
    segment = INIT + encode_moof_mdat(units, last_ticks)
    found = [
        (
            sample.dts + sample.composition_offset,
            sample.dts,
            sample.duration,
            sample.is_keyframe,
            segment[sample.offset : sample.offset + sample.size],
        )
        for sample in bitstream.samples(segment)
    ]
    assert found == expected_rows(units, last_ticks)


INIT = mux_init(h264.parse_video_parameters(BASELINE), BASELINE)


@given(st.lists(st.tuples(st.integers(1, 5_000), st.binary(max_size=40)), max_size=20), st.integers(0, 1 << 60))
def test_audio_follows_the_video_and_leaves_it_unchanged(parts: list[tuple[int, bytes]], first_dts: int):
    units = encoded().units()[:5]
    dts, audio = first_dts, list[AudioSample]()
    for duration, data in parts:
        audio.append(AudioSample(data, dts, duration))
        dts += duration
    with_audio, video_only = encode_moof_mdat(units, TICKS_25, audio), encode_moof_mdat(units, TICKS_25)
    assert sample_bytes(with_audio, mp4.Track(1, is_video=True, timescale=90_000)) == [unit.data for unit in units]
    if not audio:
        assert with_audio == video_only
        return
    track = mp4.Track(2, is_video=False, timescale=16_000)
    assert sample_bytes(with_audio, track) == [unit.data for unit in audio]
    found = [(sample.dts, sample.duration, sample.is_keyframe) for sample in mp4.samples(with_audio, track)]
    assert found == [(unit.dts, unit.duration, True) for unit in audio]


def sample_bytes(data: bytes, track: mp4.Track) -> list[bytes]:
    return [data[sample.offset : sample.offset + sample.size] for sample in mp4.samples(data, track)]


def test_a_fragment_without_audio_has_its_golden_bytes():
    unit = AccessUnit(parts=(b"\0\0\0\2", b"ab"), start_us=0, dts=7, pts=9, is_keyframe=True)
    expected = (
        "0000006c 6d6f6f66 00000010 6d666864 00000000 00000001 00000054 74726166 00000014 74666864 00020020"
        "00000001 02000000 00000014 74666474 01000000 00000000 00000007 00000024 7472756e 01000f01 00000001"
        "00000074 00000e10 00000006 02000000 00000002 0000000e 6d646174 00000002 6162"
    )
    assert encode_moof_mdat([unit], 3600) == bytes.fromhex(expected)
