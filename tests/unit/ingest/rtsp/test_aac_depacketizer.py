"""AAC out of RTP: what RFC 3640 says, what cameras make of it, and anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.rtsp.aac_depacketizer import AacDepacketizer, AuHeaderFormat
from districam_ingest.rtsp.message import RtspError

HBR, LBR = AuHeaderFormat(13, 3, 3), AuHeaderFormat(6, 2, 2)


def payload(*sizes: int, body: bytes, headers: AuHeaderFormat = HBR) -> bytes:
    """AU headers of those sizes, then `body`."""
    width = headers.size_length + headers.index_length
    value = 0
    for size in sizes:
        value = value << width | size << headers.index_length
    bits = width * len(sizes)
    value <<= -bits % 8
    return bits.to_bytes(2, "big") + value.to_bytes((bits + 7) // 8, "big") + body


def packed(units: list[bytes], headers: AuHeaderFormat = HBR) -> bytes:
    return payload(*map(len, units), body=b"".join(units), headers=headers)


@pytest.mark.parametrize("headers", [HBR, LBR])
def test_one_and_several_units_in_a_packet(headers: AuHeaderFormat):
    units = [b"one", b"three", b"4" * 40]
    one = AacDepacketizer(headers)
    assert one.feed(packed(units, headers), 0) == units
    assert one.feed(packed(units[:1], headers), 1) == units[:1]


def test_a_unit_over_several_packets_says_its_whole_size_in_each():
    unit = bytes(range(250))
    one = AacDepacketizer(HBR)
    assert one.feed(payload(250, body=unit[:100]), 7) == []
    assert one.feed(payload(250, body=unit[100:200]), 7) == []
    assert one.feed(payload(250, body=unit[200:]), 7) == [unit]
    assert one.feed(packed([b"next"]), 8) == [b"next"]


def test_a_unit_that_lost_a_piece_is_left_out_and_the_next_is_whole():
    one = AacDepacketizer(HBR)
    assert one.feed(payload(250, body=bytes(100)), 7) == []
    one.report_loss()
    assert one.feed(payload(250, body=bytes(50)), 7) == []  # a tail without its head: it waits, and is given up
    assert one.feed(packed([b"next"]), 8) == [b"next"]


def test_a_unit_that_was_never_ended_ends_with_its_timestamp():
    one = AacDepacketizer(HBR)
    assert one.feed(payload(250, body=bytes(100)), 7) == []
    assert one.feed(packed([b"a", b"b"]), 8) == [b"a", b"b"]


CORPUS = {
    "no headers": b"",
    "half a length": b"\x00",
    "a length of nothing": b"\x00\x00abc",
    "headers cut off": b"\x00\x40\x00",
    "a header cut off": b"\x00\x08\x00abc",
    "units cut off": payload(3, 9, body=b"abcdef"),
    "interleaved, by its index": b"\x00\x10\x00\x19abc",
    "interleaved, by a distance": b"\x00\x20\x00\x08\x00\x09ab",
    "longer than it says": payload(250, body=bytes(100)),
}


@pytest.mark.parametrize("name", [*CORPUS][:-1])
def test_malformed_payloads_raise_and_harm_no_other(name: str):
    one = AacDepacketizer(HBR)
    with pytest.raises(RtspError):
        one.feed(CORPUS[name], 0)
    assert one.feed(packed([b"next"]), 1) == [b"next"]


def test_a_unit_longer_than_its_size_raises():
    one = AacDepacketizer(HBR)
    assert one.feed(payload(120, body=bytes(100)), 7) == []
    with pytest.raises(RtspError, match="longer"):
        one.feed(payload(120, body=bytes(100)), 7)


@given(st.lists(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5), max_size=6))
def test_what_is_packed_comes_out(packets: list[list[bytes]]):
    one = AacDepacketizer(HBR)
    for timestamp, units in enumerate(packets):
        assert one.feed(packed(units), timestamp) == units


@given(st.binary(min_size=2, max_size=4000), st.integers(20, 1400))
def test_what_is_fragmented_comes_out(unit: bytes, mtu: int):
    one, found = AacDepacketizer(HBR), list[bytes]()
    for at in range(0, len(unit), mtu):
        found += one.feed(payload(len(unit), body=unit[at : at + mtu]), 5)
    assert found == [unit]


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 3)), max_size=8), st.booleans())
def test_anything_is_read_or_raises_the_one_error(packets: list[tuple[bytes, int]], lossy: bool):  # noqa: FBT001
    one = AacDepacketizer(HBR)
    for data, timestamp in packets:
        if lossy:
            one.report_loss()
        try:
            units = one.feed(data, timestamp)
        except RtspError:
            continue
        assert all(units)


@pytest.mark.hostile
def test_more_headers_than_fit_a_packet_are_refused_unread():
    """Each is cut out of one large number: 4,096 of them took milliseconds."""
    with pytest.raises(RtspError, match="too many AU headers"):
        AacDepacketizer(HBR).feed(packed([b""] * 257), 0)
    assert AacDepacketizer(HBR).feed(packed([b"a"] * 256), 0) == [b"a"] * 256
