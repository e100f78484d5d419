import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.rtsp import rtcp
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.rtp import LossDetector, RtpPacket, TimestampUnwrapper, parse

HEAD = bytes.fromhex("60 0102 00000003 00000004")


def test_a_packet_without_optional_fields_is_parsed():
    assert parse(b"\x80" + bytes([0x80 | 96]) + HEAD[1:] + b"xy") == RtpPacket(
        96, has_marker=True, seq=0x102, timestamp=3, ssrc=4, payload=b"xy"
    )
    assert parse(b"\x80" + HEAD) == RtpPacket(96, has_marker=False, seq=0x102, timestamp=3, ssrc=4, payload=b"")


def test_csrcs_extension_and_padding_are_not_payload():
    packet = b"\xb2" + HEAD + b"s" * 8 + b"\xbe\xde\0\x01" + b"e" * 4 + b"xy" + b"\0\0\3"
    assert parse(packet).payload == b"xy"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x80" + HEAD[:-1],
        b"\x40" + HEAD,
        b"\x9f" + HEAD + b"x",
        b"\x90" + HEAD + b"\0\0\0",
        b"\x90" + HEAD + b"\0\0\0\x09xx",
        b"\xa0" + HEAD + b"\xff",
    ],
)
def test_malformed_packets_raise(packet: bytes):
    with pytest.raises(RtspError):
        parse(packet)


@given(st.binary(max_size=60))
def test_any_packet_is_parsed_or_raises_rtsp_error(packet: bytes):
    for read in (parse, rtcp.parse):
        try:
            read(packet)
            read(b"\x80" + packet)
        except RtspError:
            continue


@given(st.integers(0, 0xFFFF), st.lists(st.integers(1, 0x8000), min_size=1, max_size=60))
def test_missing_packets_are_counted_across_the_wrap(first: int, steps: list[int]):
    detector = LossDetector()
    assert detector.feed(first, 7) == 0
    begin = detector.highest_seq
    places = itertools.accumulate(steps, initial=first)
    missing = [detector.feed(place & 0xFFFF, 7) for place in list(places)[1:]]
    assert missing == [step - 1 for step in steps]
    assert detector.packets_lost == sum(missing)
    assert detector.highest_seq - begin == sum(steps)


def test_a_new_ssrc_and_a_duplicate_packet_are_not_losses():
    detector = LossDetector()
    packets = [(10, 1), (500, 2), (501, 2), (501, 2), (502, 2), (40_000, 1)]
    assert [detector.feed(*packet) for packet in packets] == [0] * 6
    assert detector.packets_lost == 0


@pytest.mark.correctness
@given(st.integers(0, 0xFFFF), st.integers(2, 0x7FFF))
def test_sequence_numbers_that_go_back_count_as_one_lost_packet(first: int, back: int):
    detector = LossDetector()
    detector.feed(first, 7)
    assert detector.feed((first - back) & 0xFFFF, 7) == 1
    assert detector.feed((first - back + 1) & 0xFFFF, 7) == 0, "numbering continues from there"
    assert detector.packets_lost == 1


@given(st.integers(0, 0xFFFF_FFFF), st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=20))
def test_timestamps_are_unwrapped(first: int, steps: list[int]):
    line, clock = first, TimestampUnwrapper()
    assert clock.feed(first) == first
    for step in steps:
        line += step
        assert clock.unwrap(line & 0xFFFF_FFFF) == clock.feed(line & 0xFFFF_FFFF) == line


SENDER = bytes.fromhex("80c80006 00000004 ee000000 80000000 00000bb8 00000000 00000000")


def test_a_sender_report_gives_camera_time():
    report = rtcp.parse(SENDER + bytes.fromhex("81ca0001 00000004")).sender_report
    assert report == rtcp.SenderReport(4, (0xEE000000 - 2_208_988_800) * 1_000_000 + 500_000, 3000, 0x00008000)


def test_reports_of_an_unset_clock_are_ignored_and_bye_is_parsed():
    assert rtcp.parse(SENDER[:8] + bytes(4) + SENDER[12:]) == rtcp.CompoundPacket()
    assert rtcp.parse(bytes.fromhex("81cb0001 00000004")) == rtcp.CompoundPacket(bye_ssrcs=frozenset({4}))
    assert rtcp.parse(bytes.fromhex("80c80001 00000004")) == rtcp.CompoundPacket()  # too short to say anything


def test_a_receiver_report_is_well_formed():
    seen = rtcp.ReceptionReport(
        ssrc=4, highest_seq=0x1_0005, packets_lost=3, last_sr=0xABCD, since_last_sr_us=1_500_000
    )
    report = rtcp.encode_receiver_report(9, seen)
    assert rtcp.parse(report) == rtcp.CompoundPacket()
    assert report[:8] == bytes.fromhex("81c90007 00000009")
    assert report[8:32] == bytes.fromhex("00000004 00000003 00010005 00000000 0000abcd 00018000")
    assert b"districam" in report
    assert rtcp.encode_receiver_report(9, rtcp.ReceptionReport(4, 1, 0, 0, 99))[24:32] == bytes(8)
