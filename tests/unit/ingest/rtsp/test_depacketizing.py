from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit.bitstream import Codec
from districam_devkit.simcam import rtp
from districam_ingest.rtsp import fu_assembler
from districam_ingest.rtsp.h264_depacketizer import H264Depacketizer
from districam_ingest.rtsp.h265_depacketizer import H265Depacketizer
from districam_ingest.rtsp.message import RtspError

Depacketizer = H264Depacketizer | H265Depacketizer
MAKES: dict[str, Callable[[], Depacketizer]] = {"h264": H264Depacketizer, "hevc": H265Depacketizer}
HEADERS = {"h264": [b"\x65", b"\x41", b"\x06", b"\x67"], "hevc": [b"\x26\x01", b"\x02\x01", b"\x4e\x01"]}
bodies = st.binary(min_size=1, max_size=300).filter(lambda body: b"\0\0\1" not in body)
"""A NAL unit never contains a start code."""
drawn_nals = st.sampled_from(["h264", "hevc"]).flatmap(
    lambda codec: st.tuples(
        st.just(codec),
        st.lists(st.tuples(st.sampled_from(HEADERS[codec]), bodies).map(b"".join), min_size=1, max_size=6),
    )
)


def depacketized(codec: str, payloads: Sequence[bytes]) -> list[bytes]:
    depacketizer, out = MAKES[codec](), list[bytes]()
    for payload in payloads:
        depacketizer.feed(payload, out)
    depacketizer.close_unit(out)
    return out


def aggregated(codec: str, nals: Sequence[bytes]) -> bytes:
    head = b"\x78" if codec == "h264" else b"\x60\x01"
    return head + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


@given(drawn_nals, st.integers(10, 200))
def test_packetized_nal_units_are_returned_unchanged(drawn: tuple[Codec, list[bytes]], mtu: int):
    codec, nals = drawn
    assert depacketized(codec, rtp.payloads(codec, nals, mtu)) == nals


@given(drawn_nals)
def test_aggregated_nal_units_are_returned_unchanged(drawn: tuple[str, list[bytes]]):
    codec, nals = drawn
    assert depacketized(codec, [aggregated(codec, nals)]) == nals


@given(st.sampled_from(["h264", "hevc"]), st.lists(st.binary(max_size=12), max_size=12))
def test_any_payload_is_parsed_or_raises_rtsp_error_and_no_nal_unit_is_empty(codec: str, payloads: list[bytes]):
    depacketizer, out = MAKES[codec](), list[bytes]()
    for payload in payloads:
        try:
            depacketizer.feed(payload, out)
        except RtspError:
            continue
    depacketizer.close_unit(out)
    assert all(out)


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        ("h264", b"\x7c"),
        ("h264", b"\x79\0\0"),
        ("h264", b"\x78\0\x05ab"),
        ("hevc", b"\x02"),
        ("hevc", b"\x62\x01"),
        ("hevc", b"\x64\x01x"),
        ("hevc", b"\x60\x01\0\x09ab"),
    ],
)
def test_malformed_payloads_raise(codec: str, payload: bytes):
    with pytest.raises(RtspError):
        depacketized(codec, [payload])


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_fragment_without_a_start_is_malformed_unless_packets_are_missing_before_it(codec: Codec):
    nal = HEADERS[codec][0] + bytes(range(1, 100))
    first, second, *rest = rtp.payloads(codec, [nal], 40)
    depacketizer, out = MAKES[codec](), list[bytes]()
    assert not depacketizer.feed(second, out)  # joined in the middle
    assert all(depacketizer.feed(one, out) for one in (first, second, *rest[:-1]))
    assert depacketizer.feed(rest[-1], out)
    with pytest.raises(RtspError, match="without a start"):
        depacketizer.feed(second, out)
    assert depacketizer.report_loss()  # nothing was held
    assert not depacketizer.feed(second, out)
    assert out == [nal]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_an_incomplete_nal_unit_is_dropped(codec: Codec):
    nal = HEADERS[codec][0] + bytes(range(1, 100))
    pieces = rtp.payloads(codec, [nal], 40)
    other = HEADERS[codec][1] + b"x"
    for missing in range(len(pieces)):
        depacketizer, out = MAKES[codec](), list[bytes]()
        before = [depacketizer.feed(one, out) for one in [*pieces, *pieces[:missing]]]
        assert all(before)
        assert depacketizer.report_loss() == (missing == 0)
        whole = [depacketizer.feed(one, out) for one in pieces[missing + 1 :]]
        assert not any(whole)
        assert depacketizer.feed(other, out)
        assert out == [nal, other]


def test_empty_units_of_an_aggregation_packet_are_dropped():
    assert depacketized("h264", [b"\x78\0\0\0\x01a"]) == [b"a"]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_nal_units_of_a_camera_that_sets_no_end_bits_are_complete(codec: Codec):
    nal = HEADERS[codec][0] + bytes(range(1, 100))
    first, *_ = rtp.payloads(codec, [nal], 40)
    other = HEADERS[codec][1] + b"x"
    (beginning,) = depacketized(codec, [first])
    assert nal.startswith(beginning)
    assert depacketized(codec, [first, other]) == [beginning, other]
    assert depacketized(codec, [first, first]) == [beginning, beginning]
    assert depacketized(codec, [first, aggregated(codec, [other])]) == [beginning, other]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_nal_unit_without_end_bit_is_dropped_once_the_camera_has_set_one(codec: Codec):
    nal = HEADERS[codec][0] + bytes(range(1, 100))
    first, *rest = rtp.payloads(codec, [nal], 40)
    other = HEADERS[codec][1] + b"x"
    assert depacketized(codec, [first, *rest, first, other]) == [nal, other]
    assert depacketized(codec, [first, *rest, first, first, *rest]) == [nal, nal]
    assert depacketized(codec, [first, *rest, first]) == [nal]


@pytest.mark.interpreted
def test_a_nal_unit_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fu_assembler, "MAX_PICTURE_BYTES", 10_000)
    depacketizer, out = H264Depacketizer(), list[bytes]()
    depacketizer.feed(b"\x7c\x85" + b"x" * 1000, out)
    for _ in range(8):
        depacketizer.feed(b"\x7c\x05" + b"x" * 1000, out)
    with pytest.raises(RtspError, match="exceeds"):
        depacketizer.feed(b"\x7c\x05" + b"x" * 1000, out)
    depacketizer.close_unit(out)
    assert out == []
