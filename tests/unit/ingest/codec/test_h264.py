import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit import bitstream
from districam_ingest.codec import h264
from districam_ingest.codec.nal import BitstreamError
from support.bit_writer import BitWriter
from unit.ingest.samples import B_FRAMES, BASELINE, FULL_HD, INTERLACED_HRD, YUV444, encoded


@pytest.mark.parametrize(
    ("sets", "codecs", "size", "fps", "reorder"),
    [
        (BASELINE, "avc1.42c01e", (640, 360), 25, 0),
        (FULL_HD, "avc1.42c028", (1920, 1080), 25, 0),
        (B_FRAMES, "avc1.64000d", (322, 180), 25, 2),
        (YUV444, "avc1.f4000c", (320, 180), 25, 0),
        (INTERLACED_HRD, "avc1.64001e", (720, 576), 25, 2),
    ],
)
def test_parameter_sets_of_real_streams_are_parsed(
    sets: tuple[bytes, ...], codecs: str, size: tuple[int, int], fps: float, reorder: int
):
    parameters = h264.parse_video_parameters(sets)
    assert (parameters.codec, parameters.codecs, (parameters.width, parameters.height)) == ("h264", codecs, size)
    assert (parameters.fps, parameters.reorder_depth) == (fps, reorder)
    assert bitstream.avcc_parameter_sets(h264.encode_avcc(sets)) == list(sets)


class Writer(BitWriter):
    """Writes a sequence parameter set (H.264 section 7.3.2.1)."""

    def nal(self) -> bytes:
        return b"\x67" + bitstream.escape(self.rbsp())


def start(profile: int = 77) -> Writer:
    return Writer().u(8, profile, 0, 30).ue(0)


def sized(writer: Writer, *, frames_only: int = 1, crop: tuple[int, ...] = ()) -> Writer:
    """320 × 240 before cropping."""
    rows = 15 if frames_only else 15 // 2
    writer.ue(1).u(1, 0).ue(19, rows - 1).u(1, frames_only)
    if not frames_only:
        writer.u(1, 0)
    writer.u(1, 0).u(1, 1 if crop else 0)
    return writer.ue(*crop)


def main(kind: int = 2) -> Writer:
    return start().ue(0, kind)


def test_without_vui_the_rate_and_the_reorder_depth_are_unknown():
    parameters = h264.parse_video_parameters([sized(main()).u(1, 0).nal()])
    assert (parameters.width, parameters.height, parameters.fps, parameters.reorder_depth) == (320, 240, None, None)
    assert (
        h264.parse_video_parameters([sized(Writer().u(8, 66, 0, 30).ue(0).ue(0, 2)).u(1, 0).nal()]).reorder_depth == 0
    )


def test_picture_order_count_types_are_skipped():
    for writer in (main(0).ue(4), main(1).u(1, 0).ue(0, 0, 2, 1, 2)):
        parameters = h264.parse_video_parameters([sized(writer).u(1, 0).nal()])
        assert (parameters.width, parameters.height) == (320, 240)


def test_the_height_of_interlaced_video_counts_both_fields():
    parameters = h264.parse_video_parameters([sized(main(), frames_only=0, crop=(1, 1, 0, 2)).u(1, 0).nal()])
    assert (parameters.width, parameters.height) == (320 - 4, 7 * 32 - 8)


def test_only_interlaced_video_has_fields():
    assert [h264.parse_video_parameters(sets).has_fields for sets in (INTERLACED_HRD, BASELINE, B_FRAMES)] == [
        True,
        False,
        False,
    ]


def test_h264_without_a_readable_sps_may_have_fields():
    assert h264.may_have_fields("h264", [])
    assert h264.may_have_fields("h264", INTERLACED_HRD)
    assert not h264.may_have_fields("h264", BASELINE)
    assert not h264.may_have_fields("hevc", [])


def test_scaling_lists_are_skipped():
    for chroma, lists in ((1, 8), (3, 12)):
        writer = start(100).ue(chroma)
        if chroma == 3:
            writer.u(1, 1)  # separate planes: no chroma to crop by
        writer.ue(0, 0).u(1, 0).u(1, 1)
        for index in range(lists):
            writer.u(1, 1 if index in {0, 6} else 0)
            if index == 0:
                writer.ue(15)  # a delta of 8
                writer.ue(30)  # of -15: it is 1 now
                for _ in range(14):
                    writer.ue(0)
            elif index == 6:
                writer.ue(16)  # -8: the rest repeats
        parameters = h264.parse_video_parameters([sized(writer.ue(0, 2), crop=(0, 1, 0, 1)).u(1, 0).nal()])
        assert (parameters.width, parameters.height) == ((318, 238) if chroma == 1 else (319, 239))


def vui(writer: Writer) -> Writer:
    return sized(writer).u(1, 1)


def test_all_vui_elements_are_parsed():
    writer = vui(main()).u(1, 1).u(8, 255).u(32, 1).u(1, 1).u(1, 0).u(1, 1).u(4, 5).u(1, 1).u(24, 1)
    writer.u(1, 1).ue(0, 0)  # chroma location
    writer.u(1, 1).u(32, 1, 20).u(1, 1)  # ten frames a second
    for _ in range(2):  # HRD
        writer.u(1, 1).ue(0).u(8, 0).ue(1, 1).u(1, 0).u(20, 0)
    writer.u(1, 0).u(1, 0).u(1, 1).u(1, 1).ue(0, 0, 9, 9, 3, 4)
    parameters = h264.parse_video_parameters([writer.nal()])
    assert (parameters.fps, parameters.reorder_depth) == (10, 3)


@pytest.mark.parametrize(("tick", "scale"), [(0, 50), (1, 4_000_000_000), (4_000_000_000, 1), (100_000, 1000)])
def test_a_frame_rate_out_of_range_is_ignored(tick: int, scale: int):
    writer = vui(main()).u(1, 0, 0, 0, 0).u(1, 1).u(32, tick, scale).u(1, 1).u(1, 0, 0, 0, 0)
    assert h264.parse_video_parameters([writer.nal()]).fps is None


def test_a_truncated_or_invalid_vui_is_ignored():
    ended = h264.parse_video_parameters([vui(main()).u(1, 0, 0, 0, 0).u(1, 1).u(32, 1, 50).nal()])
    assert (ended.width, ended.fps, ended.reorder_depth) == (320, 25, None)
    lying = vui(main()).u(1, 0, 0, 0, 0).u(1, 0, 0, 0, 0).u(1, 1).u(1, 1).ue(0, 0, 9, 9, 17, 17)
    assert h264.parse_video_parameters([lying.nal()]).reorder_depth is None
    without = vui(main()).u(1, 0, 0, 0, 0).u(1, 0, 0, 0, 0, 0)
    assert h264.parse_video_parameters([without.nal()]).reorder_depth is None


@pytest.mark.parametrize(
    "sets",
    [
        (),
        BASELINE[1:],
        (b"\x67\x42",),
        (BASELINE[0][:8],),
        (start(100).ue(7).ue(0, 0).u(1, 0, 0).ue(0, 2).nal(),),  # no such chroma format
        (sized(main(), crop=(80, 80, 0, 0)).u(1, 0).nal(),),  # nothing left
        (main().ue(1).u(1, 0).ue(3000, 10).u(1, 1, 0, 0, 0).nal(),),  # 48,016 wide
    ],
)
def test_malformed_parameter_sets_are_rejected(sets: tuple[bytes, ...]):
    with pytest.raises(BitstreamError):
        h264.parse_video_parameters(sets)


@pytest.mark.parametrize(
    "sets",
    [
        (),
        BASELINE[:1],
        BASELINE[1:],
        (b"\x67", BASELINE[1]),
        (BASELINE[0],) * 32 + BASELINE[1:],
        (start(100).ue(1, 9, 9).nal(), BASELINE[1]),  # 17 bits a sample
    ],
)
def test_parameter_sets_that_do_not_fit_avcc_are_rejected(sets: tuple[bytes, ...]):
    with pytest.raises(BitstreamError):
        h264.encode_avcc(sets)


@given(st.lists(st.binary(min_size=1, max_size=60).map(lambda data: b"\x67" + data), max_size=3))
def test_any_bytes_are_parsed_or_raise_bitstream_error(sets: list[bytes]):
    for parse in (h264.parse_video_parameters, h264.encode_avcc):
        try:
            parse([*sets, BASELINE[1]])
        except BitstreamError:
            continue


@given(st.integers(0, 8 * len(YUV444[0]) - 1), st.sampled_from([B_FRAMES, YUV444, INTERLACED_HRD]))
def test_a_flipped_bit_is_parsed_or_raises_bitstream_error(bit: int, sets: tuple[bytes, ...]):
    value = bytearray(sets[0])
    value[bit // 8 % len(value)] ^= 1 << bit % 8
    if value[0] & 31 != 7:
        return
    for parse in (h264.parse_video_parameters, h264.encode_avcc):
        try:
            parse([bytes(value), sets[1]])
        except BitstreamError:
            continue


def test_the_reorder_depth_is_that_of_the_encoder():
    assert [h264.parse_video_parameters(encoded(b_frames=n, pyramid=n > 2).sets).reorder_depth for n in (0, 2, 3)] == [
        0,
        1,
        2,
    ]
