import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit import bitstream
from districam_ingest.codec import nal
from districam_ingest.codec.nal import BitReader, BitstreamError, Codec
from unit.ingest.samples import BASELINE, HEVC, IDR, IDR_HEVC, SLICE, SLICE_HEVC, encoded

nals = st.lists(
    st.binary(min_size=1, max_size=40)
    .filter(lambda nal: nal[-1] != 0 and b"\0\0\1" not in nal)
    .map(lambda nal: b"\x41" + nal),
    max_size=6,
)


@given(nals, st.sampled_from([b"\0\0\1", b"\0\0\0\1"]))
def test_nal_units_are_split_from_annex_b_unchanged(units: list[bytes], start_code: bytes):
    assert nal.split_annexb(b"".join(start_code + unit for unit in units)) == units


@given(st.binary(max_size=200))
def test_splitting_any_bytes_gives_no_empty_nal_unit(data: bytes):
    assert all(nal.split_annexb(data))
    assert nal.split_annexb(b"\0\0\1\0\0\1" + data.replace(b"\0", b"") + b"\0\0\1") in ([data.replace(b"\0", b"")], [])


def test_trailing_zero_bytes_of_the_last_nal_unit_are_kept():
    assert nal.split_annexb(b"\0\0\1" + SLICE + b"\0\0") == [SLICE + b"\0\0"]


@given(nals)
def test_a_sample_holds_length_prefixed_nal_units(units: list[bytes]):
    assert bitstream.split_length_prefixed(b"".join(nal.length_prefixed(units))) == units


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 255]), min_size=1).map(bytes))
def test_emulation_prevention_bytes_are_removed(rbsp: bytes):
    assert nal.remove_emulation_prevention(bitstream.escape(rbsp + b"\x80")) == rbsp + b"\x80"


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_keyframes_are_those_of_the_encoder(codec: Codec):
    for units, _, _, is_key in encoded(codec, b_frames=2).pictures:
        assert nal.is_keyframe(codec, units) is is_key


def sei(*messages: tuple[int, bytes]) -> bytes:
    body = b""
    for kind, payload in messages:
        body += (b"\xff" * (kind // 255) + bytes([kind % 255]) + b"\xff" * (len(payload) // 255)) + bytes(
            [len(payload) % 255]
        )
        body += payload
    return b"\x06" + bitstream.escape(body + b"\x80")


@pytest.mark.parametrize(
    ("units", "is_key"),
    [
        ([SLICE], False),
        ([IDR], True),
        ([sei((6, b"\x84")), SLICE], True),
        ([sei((5, bytes(600)), (6, b"\x84")), SLICE], True),
        ([sei((300, b"\1\2"), (1, b"\6")), SLICE], False),
        ([sei((6, b"\x84"))], False),  # no slice at all
        ([b"\x06\xff\xff\xff", SLICE], False),  # cut off
        ([b"\x06\x05\xff\xff", SLICE], False),
        ([b"\x06", SLICE], False),
    ],
)
def test_an_h264_recovery_point_is_a_keyframe_and_other_sei_are_not(units: list[bytes], *, is_key: bool):
    assert nal.is_keyframe("h264", units) is is_key


@pytest.mark.parametrize("kind", range(32))
def test_hevc_keyframes_are_the_irap_pictures(kind: int):
    assert nal.is_keyframe("hevc", [bytes([kind << 1, 1, 0x80])]) is (16 <= kind <= 21)


def test_parameter_sets_are_those_before_the_first_slice_without_trailing_zeros():
    sps, pps = BASELINE
    assert nal.parameter_sets("h264", [b"\x09\xf0", sps + b"\0", pps, IDR, b"\x67late"]) == (sps, pps)
    assert nal.parameter_sets("hevc", [*HEVC, IDR_HEVC]) == HEVC
    assert nal.parameter_sets("hevc", [SLICE_HEVC]) == ()


def test_too_many_or_too_long_parameter_sets_are_rejected():
    assert nal.encode_parameter_sets([b"ab", b"c"], count_bytes=1, max_count=31, flags=0xE0) == b"\xe2\0\2ab\0\1c"
    with pytest.raises(BitstreamError):
        nal.encode_parameter_sets([b"a"] * 32, count_bytes=1, max_count=31)
    with pytest.raises(BitstreamError):
        nal.encode_parameter_sets([bytes(65536)], count_bytes=1, max_count=31)


def exp_golomb(value: int) -> str:
    return f"{value + 1:b}".zfill(2 * (value + 1).bit_length() - 1)


@given(st.lists(st.integers(0, 2**32 - 2)))
def test_exp_golomb_codes_are_decoded(values: list[int]):
    text = "".join(map(exp_golomb, values)) + "1"
    data = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    assert [BitReader(data).ue() for _ in values[:1]] == values[:1]
    bits = BitReader(data)
    assert [bits.ue() for _ in values] == values
    signed = BitReader(data)
    assert [signed.se() for _ in values] == [(value + 1) // 2 if value % 2 else -value // 2 for value in values]


def test_truncated_or_endless_codes_are_rejected():
    with pytest.raises(BitstreamError):
        BitReader(b"\x80").u(9)
    with pytest.raises(BitstreamError):
        BitReader(bytes(8)).ue()
    with pytest.raises(BitstreamError):
        BitReader(bytes(nal.MAX_PARSED_BYTES + 1)).u(8 * nal.MAX_PARSED_BYTES + 1)
