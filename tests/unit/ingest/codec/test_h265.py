from collections.abc import Callable
from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit import bitstream
from districam_ingest.codec import h265
from districam_ingest.codec.nal import BitstreamError, is_parameter_set, split_annexb
from support.bit_writer import BitWriter
from unit.ingest.samples import HEVC, HEVC_10, encoded


@pytest.mark.parametrize(
    ("sets", "codecs", "size"),
    [
        (HEVC, "hvc1.1.6.L60.90", (416, 240)),
        (HEVC_10, "hvc1.2.4.L120.90", (1920, 1080)),
    ],
)
def test_real_parameter_sets(sets: tuple[bytes, ...], codecs: str, size: tuple[int, int]):
    shape = h265.parse_video_parameters(sets)
    assert (shape.codec, shape.codecs, (shape.width, shape.height)) == ("hevc", codecs, size)
    record = h265.encode_hvcc(sets)
    assert bitstream.hvcc_parameter_sets(record) == list(sets)
    assert record[17] & 7 == record[18] & 7 == (2 if sets is HEVC_10 else 0)  # bits a sample over 8


def test_the_encoders_reorder_depth_is_read():
    assert [
        h265.parse_video_parameters(encoded("hevc", b_frames=n, pyramid=n > 2).sets).reorder_depth for n in (0, 2, 3)
    ] == [
        0,
        1,
        2,
    ]


class Writer(BitWriter):
    """Writes a sequence parameter set (H.265 section 7.3.2.2)."""

    def __init__(self, sub_layers: int) -> None:
        general = HEVC[1].replace(b"\0\0\3", b"\0\0")[3:15]
        super().__init__(f"{0x4201:016b}0000{sub_layers:03b}1" + "".join(f"{byte:08b}" for byte in general))

    def nal(self) -> bytes:
        data = self.rbsp()
        return data[:2] + bitstream.escape(data[2:])


def test_sub_layers_are_skipped_and_the_highest_says_the_reorder_depth():
    writer = Writer(2).u(1, 1, 1, 0, 1).u(2, *[0] * 6).u(88, 0).u(8, 60, 60)
    writer.ue(0, 3).u(1, 1).ue(64, 48).u(1, 1).ue(1, 1, 2, 2).ue(0, 0, 4).u(1, 1)
    writer.ue(1, 0, 0).ue(2, 1, 0).ue(5, 3, 0)
    shape = h265.parse_video_parameters([writer.nal()])
    assert (shape.width, shape.height, shape.reorder_depth) == (62, 44, 3)


def sps(*, chroma: int = 1, size: tuple[int, int] = (64, 48), bits: int = 0, reorder: int = 0) -> bytes:
    writer = Writer(0).ue(0, chroma)
    if chroma == 3:
        writer.u(1, 0)
    writer.ue(*size).u(1, 0).ue(bits, bits, 4).u(1, 0).ue(1, reorder, 0)
    return writer.nal()


def test_a_written_parameter_set_is_read():
    shape = h265.parse_video_parameters([sps(chroma=3, reorder=2)])
    assert (shape.width, shape.height, shape.reorder_depth) == (64, 48, 2)


def libav_fps(sets: tuple[bytes, ...]) -> float | None:
    """Pictures a second as FFmpeg's decoder reads them from the same parameter sets."""
    decoder = av.CodecContext.create("hevc", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata = b"".join(b"\0\0\0\1" + one for one in sets)
    decoder.open()
    rate = decoder.framerate
    return float(rate) if rate else None


def x265(options: str, rate: Fraction) -> tuple[bytes, ...]:
    """Parameter sets of x265 for 320 × 192 with a sample aspect ratio of its own."""
    encoder = av.CodecContext.create("libx265", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 320, 192, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.sample_aspect_ratio = 1 / rate, rate, Fraction(7, 5)
    encoder.flags |= 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: the sets stand in extradata
    encoder.options = {"preset": "ultrafast", "x265-params": f"log-level=none:{options}"}
    encoder.open()
    return tuple(nal for nal in split_annexb(bytes(encoder.extradata or b"")) if is_parameter_set("hevc", nal))


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ("bframes=4:b-pyramid=1:ref=5", Fraction(30)),
        ("scaling-list=default", Fraction(30000, 1001)),
        ("hrd=1:vbv-maxrate=1000:vbv-bufsize=1000", Fraction(15)),
        ("overscan=show:videoformat=pal:range=full:colorprim=bt709:chromaloc=2", Fraction(25, 2)),
        ("display-window=2,2,2,2:temporal-layers=3", Fraction(25)),
    ],
)
def test_the_nominal_rate_is_read_from_an_encoders_sets(options: str, rate: Fraction):
    sets = x265(options, rate)
    assert h265.parse_video_parameters(sets).fps == pytest.approx(float(rate)) == libav_fps(sets)


@pytest.mark.parametrize("sets", [HEVC, HEVC_10])
def test_and_from_recorded_ones(sets: tuple[bytes, ...]):
    assert h265.parse_video_parameters(sets).fps == 25 == libav_fps(sets)


def test_there_is_none_where_the_timing_is_left_out():
    sets = x265("no-vui-timing-info=1", Fraction(20))
    assert h265.parse_video_parameters(sets).fps is None
    assert libav_fps(sets) is None


def up_to_tools(*, lists: bool = False) -> Writer:
    """A set of 64 × 48 up to its reference picture sets: with PCM, and scaling lists of its own if wished."""
    writer = Writer(0).ue(0, 1, 64, 48).u(1, 0).ue(0, 0, 4).u(1, 1).ue(4, 0, 0).ue(0, 3, 0, 3, 1, 1)
    writer.u(1, lists)
    if lists:
        writer.u(1, 1)
        for size_id in range(4):
            for matrix in range(2 if size_id == 3 else 6):
                if matrix == 1:
                    writer.u(1, 0).ue(1)
                    continue
                writer.u(1, 1)
                if size_id > 1:
                    writer.se(-3)
                writer.se(*[n % 5 - 2 for n in range(min(64, 16 << 2 * size_id))])
    return writer.u(1, 1, 1).u(1, 1).u(4, 7, 7).ue(0, 0).u(1, 1)


def with_vui(writer: Writer, *, signal: bool = True) -> bytes:
    """Long-term references, and a VUI of 30000/1001 pictures a second with all that may stand before the timing."""
    writer.u(1, 1).ue(1).u(8, 77).u(1, 1).u(1, 1, 1)
    writer.u(1, 1, 1).u(8, 255).u(16, 4, 3).u(1, 1, 1, signal)
    if signal:
        writer.u(3, 5).u(1, 1, 1).u(8, 1, 1, 1)
    writer.u(1, 1).ue(2, 2).u(1, 0, 0, 0, 1).ue(1, 1, 1, 1)
    return writer.u(1, 1).u(32, 1001, 30000).u(1, 0, 0, 0, 0).nal()


def listed(writer: Writer) -> Writer:
    """Two sets; the second refers to three pictures before and one after."""
    return writer.ue(2).ue(1, 0, 0).u(1, 1).u(1, 0).ue(3, 1).ue(0).u(1, 1).ue(0).u(1, 0).ue(1).u(1, 1).ue(0).u(1, 1)


def predicted(writer: Writer, zero: tuple[int, ...] = (0, 0)) -> Writer:
    """Four sets, each told by its difference from the one before.

    The first refers to -1 and -3. The second, 1 more: 0, which is the picture itself and is flagged by `zero`, -2 and 1.
    The third, 2 less: -4 and -1, and not -2. The fourth has a flag for each of these two, and one.
    """
    writer.ue(4).ue(2, 0, 0).u(1, 1).ue(1).u(1, 1)
    writer.u(1, 1, 0).ue(0).u(1, *zero, 1, 1)
    writer.u(1, 1, 1).ue(1).u(1, 1).u(1, 0, 1).u(1, 0, 0)
    return writer.u(1, 1, 0).ue(6).u(1, 1, 1, 1)


@pytest.mark.parametrize("sets", [listed, predicted])
@pytest.mark.parametrize("lists", [False, True])
def test_all_that_may_stand_before_the_timing_is_passed_over(sets: Callable[[Writer], Writer], *, lists: bool):
    written = (HEVC[0], with_vui(sets(up_to_tools(lists=lists))), HEVC[2])
    assert h265.parse_video_parameters(written).fps == pytest.approx(30000 / 1001) == libav_fps(written)


def test_a_set_that_flags_the_picture_itself_does_not_count_it():
    """By formulas 7-61 and 7-62; FFmpeg counts it, but no encoder known to us writes this."""
    assert h265.parse_video_parameters(
        [with_vui(predicted(up_to_tools(), zero=(1,)), signal=False)]
    ).fps == pytest.approx(30000 / 1001)


@pytest.mark.hostile
@pytest.mark.parametrize("count", [(1 << 30,), (1, 1 << 30, 1 << 30)], ids=["sets", "references"])
def test_a_rate_behind_more_than_is_read_is_left_out(count: tuple[int, ...]):
    shape = h265.parse_video_parameters([up_to_tools().ue(*count).nal() + b"\xff" * 60_000])
    assert (shape.width, shape.height, shape.fps) == (64, 48, None)


def test_a_set_without_a_vui_tells_no_rate():
    shape = h265.parse_video_parameters([up_to_tools().ue(0).u(1, 0, 0, 0, 0).nal()])
    assert (shape.width, shape.fps) == (64, None)


@pytest.mark.parametrize(
    "sets",
    [
        (),
        (HEVC[0], HEVC[2]),
        (HEVC[1][:12],),
        (HEVC[1][:17],),
        (sps(chroma=4),),
        (sps(size=(0, 48)),),
        (sps(size=(64, 100_000)),),
        (sps(bits=9),),
        (sps(reorder=17),),
    ],
)
def test_what_is_no_parameter_set_is_refused(sets: tuple[bytes, ...]):
    with pytest.raises(BitstreamError):
        h265.parse_video_parameters(sets)


@pytest.mark.parametrize("missing", range(3))
def test_a_decoder_configuration_needs_all_three_sets(missing: int):
    with pytest.raises(BitstreamError):
        h265.encode_hvcc([one for index, one in enumerate(HEVC) if index != missing])


@given(st.binary(max_size=80), st.integers(0, 80))
def test_garbage_is_refused_and_nothing_else(data: bytes, kept: int):
    for parse in (h265.parse_video_parameters, h265.encode_hvcc):
        try:
            parse([HEVC[0], HEVC[1][: max(1, kept)] + data, HEVC[2]])
        except BitstreamError:
            continue
