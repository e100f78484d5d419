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
    ("sets", "codecs", "size"), [(HEVC, "hvc1.1.6.L60.90", (416, 240)), (HEVC_10, "hvc1.2.4.L120.90", (1920, 1080))]
)
def test_parameter_sets_of_real_streams_are_parsed(sets: tuple[bytes, ...], codecs: str, size: tuple[int, int]):
    parameters = h265.parse_video_parameters(sets)
    assert (parameters.codec, parameters.codecs, (parameters.width, parameters.height)) == ("hevc", codecs, size)
    record = h265.encode_hvcc(sets)
    assert bitstream.hvcc_parameter_sets(record) == list(sets)
    assert record[17] & 7 == record[18] & 7 == (2 if sets is HEVC_10 else 0)  # bits a sample over 8


def test_the_reorder_depth_is_that_of_the_encoder():
    assert [
        h265.parse_video_parameters(encoded("hevc", b_frames=n, pyramid=n > 2).sets).reorder_depth for n in (0, 2, 3)
    ] == [0, 1, 2]


class Writer(BitWriter):
    """Writes a sequence parameter set (H.265 section 7.3.2.2)."""

    def __init__(self, sub_layers: int) -> None:
        general = HEVC[1].replace(b"\0\0\3", b"\0\0")[3:15]
        super().__init__(f"{0x4201:016b}0000{sub_layers:03b}1" + "".join(f"{byte:08b}" for byte in general))

    def nal(self) -> bytes:
        data = self.rbsp()
        return data[:2] + bitstream.escape(data[2:])


def test_the_reorder_depth_is_that_of_the_highest_sub_layer():
    writer = Writer(2).u(1, 1, 1, 0, 1).u(2, *[0] * 6).u(88, 0).u(8, 60, 60)
    writer.ue(0, 3).u(1, 1).ue(64, 48).u(1, 1).ue(1, 1, 2, 2).ue(0, 0, 4).u(1, 1)
    writer.ue(1, 0, 0).ue(2, 1, 0).ue(5, 3, 0)
    parameters = h265.parse_video_parameters([writer.nal()])
    assert (parameters.width, parameters.height, parameters.reorder_depth) == (62, 44, 3)


def sps(*, chroma: int = 1, size: tuple[int, int] = (64, 48), bits: int = 0, reorder: int = 0) -> bytes:
    writer = Writer(0).ue(0, chroma)
    if chroma == 3:
        writer.u(1, 0)
    writer.ue(*size).u(1, 0).ue(bits, bits, 4).u(1, 0).ue(1, reorder, 0)
    return writer.nal()


def test_a_generated_sps_is_parsed():
    parameters = h265.parse_video_parameters([sps(chroma=3, reorder=2)])
    assert (parameters.width, parameters.height, parameters.reorder_depth) == (64, 48, 2)


def libav_fps(sets: tuple[bytes, ...]) -> float | None:
    """Frame rate that FFmpeg's decoder reads from the same parameter sets."""
    decoder = av.CodecContext.create("hevc", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata = b"".join(b"\0\0\0\1" + one for one in sets)
    decoder.open()
    rate = decoder.framerate
    return float(rate) if rate else None


def x265(options: str, rate: Fraction) -> tuple[bytes, ...]:
    """Parameter sets of x265 for 320 × 192 with an extended sample aspect ratio."""
    encoder = av.CodecContext.create("libx265", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 320, 192, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.sample_aspect_ratio = 1 / rate, rate, Fraction(7, 5)
    encoder.flags |= 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets in extradata
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
def test_the_frame_rate_of_an_encoders_parameter_sets_is_parsed(options: str, rate: Fraction):
    sets = x265(options, rate)
    assert h265.parse_video_parameters(sets).fps == pytest.approx(float(rate)) == libav_fps(sets)


@pytest.mark.parametrize("sets", [HEVC, HEVC_10])
def test_the_frame_rate_of_recorded_parameter_sets_is_parsed(sets: tuple[bytes, ...]):
    assert h265.parse_video_parameters(sets).fps == 25 == libav_fps(sets)


def test_without_vui_timing_the_frame_rate_is_unknown():
    sets = x265("no-vui-timing-info=1", Fraction(20))
    assert h265.parse_video_parameters(sets).fps is None
    assert libav_fps(sets) is None


def up_to_tools(*, lists: bool = False) -> Writer:
    """An SPS of 64 × 48 up to its reference picture sets: with PCM, and with scaling lists if `lists`."""
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
    """Long-term references, and a VUI of 30000/1001 fps with all elements that may precede the timing."""
    writer.u(1, 1).ue(1).u(8, 77).u(1, 1).u(1, 1, 1)
    writer.u(1, 1, 1).u(8, 255).u(16, 4, 3).u(1, 1, 1, signal)
    if signal:
        writer.u(3, 5).u(1, 1, 1).u(8, 1, 1, 1)
    writer.u(1, 1).ue(2, 2).u(1, 0, 0, 0, 1).ue(1, 1, 1, 1)
    return writer.u(1, 1).u(32, 1001, 30000).u(1, 0, 0, 0, 0).nal()


def listed(writer: Writer) -> Writer:
    """Two reference picture sets; the second has three negative pictures and a positive one."""
    return writer.ue(2).ue(1, 0, 0).u(1, 1).u(1, 0).ue(3, 1).ue(0).u(1, 1).ue(0).u(1, 0).ue(1).u(1, 1).ue(0).u(1, 1)


def predicted(writer: Writer, zero: tuple[int, ...] = (0, 0)) -> Writer:
    """Four reference picture sets, each predicted from the previous one.

    The first refers to -1 and -3. The second, 1 more: 0, which is the picture itself and is flagged by
    `zero`, -2 and 1. The third, 2 less: -4 and -1, and not -2. The fourth has a flag for each of these two,
    and one.
    """
    writer.ue(4).ue(2, 0, 0).u(1, 1).ue(1).u(1, 1)
    writer.u(1, 1, 0).ue(0).u(1, *zero, 1, 1)
    writer.u(1, 1, 1).ue(1).u(1, 1).u(1, 0, 1).u(1, 0, 0)
    return writer.u(1, 1, 0).ue(6).u(1, 1, 1, 1)


@pytest.mark.parametrize("sets", [listed, predicted])
@pytest.mark.parametrize("lists", [False, True])
def test_all_elements_before_the_vui_timing_are_skipped(sets: Callable[[Writer], Writer], *, lists: bool):
    written = (HEVC[0], with_vui(sets(up_to_tools(lists=lists))), HEVC[2])
    assert h265.parse_video_parameters(written).fps == pytest.approx(30000 / 1001) == libav_fps(written)


def test_a_reference_picture_set_does_not_count_the_current_picture():
    """By equations 7-61 and 7-62. FFmpeg counts it, but no encoder known to us writes this."""
    assert h265.parse_video_parameters(
        [with_vui(predicted(up_to_tools(), zero=(1,)), signal=False)]
    ).fps == pytest.approx(30000 / 1001)


@pytest.mark.hostile
@pytest.mark.parametrize("count", [(1 << 30,), (1, 1 << 30, 1 << 30)], ids=["sets", "references"])
def test_a_frame_rate_beyond_the_parsed_bytes_is_ignored(count: tuple[int, ...]):
    parameters = h265.parse_video_parameters([up_to_tools().ue(*count).nal() + b"\xff" * 60_000])
    assert (parameters.width, parameters.height, parameters.fps) == (64, 48, None)


def test_without_vui_the_frame_rate_is_unknown():
    parameters = h265.parse_video_parameters([up_to_tools().ue(0).u(1, 0, 0, 0, 0).nal()])
    assert (parameters.width, parameters.fps) == (64, None)


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
def test_malformed_parameter_sets_are_rejected(sets: tuple[bytes, ...]):
    with pytest.raises(BitstreamError):
        h265.parse_video_parameters(sets)


@pytest.mark.parametrize("missing", range(3))
def test_hvcc_needs_vps_sps_and_pps(missing: int):
    with pytest.raises(BitstreamError):
        h265.encode_hvcc([one for index, one in enumerate(HEVC) if index != missing])


@given(st.binary(max_size=80), st.integers(0, 80))
def test_any_bytes_are_parsed_or_raise_bitstream_error(data: bytes, kept: int):
    for parse in (h265.parse_video_parameters, h265.encode_hvcc):
        try:
            parse([HEVC[0], HEVC[1][: max(1, kept)] + data, HEVC[2]])
        except BitstreamError:
            continue
