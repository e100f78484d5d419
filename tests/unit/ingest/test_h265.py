import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit import bitstream
from districam_ingest.core import h265
from districam_ingest.core.nal import BitstreamError
from unit.ingest.samples import HEVC, HEVC_10, encoded


@pytest.mark.parametrize(
    ("sets", "codecs", "size"),
    [
        (HEVC, "hvc1.1.6.L60.90", (416, 240)),
        (HEVC_10, "hvc1.2.4.L120.90", (1920, 1080)),
    ],
)
def test_real_parameter_sets(sets: tuple[bytes, ...], codecs: str, size: tuple[int, int]):
    shape = h265.shape(sets)
    assert (shape.codec, shape.codecs, (shape.width, shape.height)) == ("hevc", codecs, size)
    record = h265.hvcc(sets)
    assert bitstream.hvcc_parameter_sets(record) == list(sets)
    assert record[17] & 7 == record[18] & 7 == (2 if sets is HEVC_10 else 0)  # bits a sample over 8


def test_the_encoders_reorder_depth_is_read():
    assert [h265.shape(encoded("hevc", b_frames=n, pyramid=n > 2).sets).reorder for n in (0, 2, 3)] == [
        0,
        1,
        2,
    ]


class Writer:
    """Writes a sequence parameter set bit by bit (H.265 section 7.3.2.2)."""

    def __init__(self, sub_layers: int) -> None:
        general = HEVC[1].replace(b"\0\0\3", b"\0\0")[3:15]
        self.text = f"{0x4201:016b}0000{sub_layers:03b}1"
        self.text += "".join(f"{byte:08b}" for byte in general)

    def u(self, count: int, *values: int) -> "Writer":
        self.text += "".join(f"{value:0{count}b}" for value in values)
        return self

    def ue(self, *values: int) -> "Writer":
        for value in values:
            self.text += f"{value + 1:b}".zfill(2 * (value + 1).bit_length() - 1)
        return self

    def nal(self) -> bytes:
        text = self.text + "1"
        data = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
        return data[:2] + bitstream.escape(data[2:])


def test_sub_layers_are_skipped_and_the_highest_says_the_reorder_depth():
    writer = Writer(2).u(1, 1, 1, 0, 1).u(2, *[0] * 6).u(88, 0).u(8, 60, 60)
    writer.ue(0, 3).u(1, 1).ue(64, 48).u(1, 1).ue(1, 1, 2, 2).ue(0, 0, 4).u(1, 1)
    writer.ue(1, 0, 0).ue(2, 1, 0).ue(5, 3, 0)
    shape = h265.shape([writer.nal()])
    assert (shape.width, shape.height, shape.reorder) == (62, 44, 3)


def sps(*, chroma: int = 1, size: tuple[int, int] = (64, 48), bits: int = 0, reorder: int = 0) -> bytes:
    writer = Writer(0).ue(0, chroma)
    if chroma == 3:
        writer.u(1, 0)
    writer.ue(*size).u(1, 0).ue(bits, bits, 4).u(1, 0).ue(1, reorder, 0)
    return writer.nal()


def test_a_written_parameter_set_is_read():
    shape = h265.shape([sps(chroma=3, reorder=2)])
    assert (shape.width, shape.height, shape.reorder) == (64, 48, 2)


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
        h265.shape(sets)


@pytest.mark.parametrize("missing", range(3))
def test_a_decoder_configuration_needs_all_three_sets(missing: int):
    with pytest.raises(BitstreamError):
        h265.hvcc([one for index, one in enumerate(HEVC) if index != missing])


@given(st.binary(max_size=80), st.integers(0, 80))
def test_garbage_is_refused_and_nothing_else(data: bytes, kept: int):
    for parse in (h265.shape, h265.hvcc):
        try:
            parse([HEVC[0], HEVC[1][: max(1, kept)] + data, HEVC[2]])
        except BitstreamError:
            continue
