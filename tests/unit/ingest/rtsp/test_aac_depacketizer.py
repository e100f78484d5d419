"""AAC depacketizing (RFC 3640): valid, malformed and random payloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.rtsp.aac_depacketizer import AacDepacketizer, AuHeaderFormat
from districam_ingest.rtsp.message import RtspError

HBR, LBR = AuHeaderFormat(13, 3, 3), AuHeaderFormat(6, 2, 2)


def payload(*sizes: int, body: bytes, headers: AuHeaderFormat = HBR) -> bytes:
    """AU headers with these values of AU-size, then `body`."""
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
def test_a_packet_may_hold_one_or_several_access_units(headers: AuHeaderFormat):
    units = [b"one", b"three", b"4" * 40]
    one = AacDepacketizer(headers)
    assert one.feed(packed(units, headers), 0) == units
    assert one.feed(packed(units[:1], headers), 1) == units[:1]


def test_a_fragmented_access_unit_is_reassembled():
    unit = bytes(range(250))
    one = AacDepacketizer(HBR)
    assert one.feed(payload(250, body=unit[:100]), 7) == []
    assert one.feed(payload(250, body=unit[100:200]), 7) == []
    assert one.feed(payload(250, body=unit[200:]), 7) == [unit]
    assert one.feed(packed([b"next"]), 8) == [b"next"]


def test_an_access_unit_with_a_lost_fragment_is_dropped_and_the_next_one_is_returned():
    one = AacDepacketizer(HBR)
    assert one.feed(payload(250, body=bytes(100)), 7) == []
    one.report_loss()
    assert one.feed(payload(250, body=bytes(50)), 7) == []  # the rest without its start is buffered, then discarded
    assert one.feed(packed([b"next"]), 8) == [b"next"]


def test_a_new_timestamp_discards_an_incomplete_access_unit():
    one = AacDepacketizer(HBR)
    assert one.feed(payload(250, body=bytes(100)), 7) == []
    assert one.feed(packed([b"a", b"b"]), 8) == [b"a", b"b"]


CORPUS = {
    "empty": b"",
    "truncated AU-headers-length": b"\x00",
    "AU-headers-length of 0": b"\x00\x00abc",
    "truncated AU headers": b"\x00\x40\x00",
    "truncated AU header": b"\x00\x08\x00abc",
    "truncated access units": payload(3, 9, body=b"abcdef"),
    "interleaved, by AU-Index": b"\x00\x10\x00\x19abc",
    "interleaved, by AU-Index-delta": b"\x00\x20\x00\x08\x00\x09ab",
    "longer than its AU-size": payload(250, body=bytes(100)),
}


@pytest.mark.parametrize("name", [*CORPUS][:-1])
def test_malformed_payloads_raise_and_do_not_affect_the_next_one(name: str):
    one = AacDepacketizer(HBR)
    with pytest.raises(RtspError):
        one.feed(CORPUS[name], 0)
    assert one.feed(packed([b"next"]), 1) == [b"next"]


def test_an_access_unit_longer_than_its_au_size_raises():
    one = AacDepacketizer(HBR)
    assert one.feed(payload(120, body=bytes(100)), 7) == []
    with pytest.raises(RtspError, match="longer"):
        one.feed(payload(120, body=bytes(100)), 7)


@given(st.lists(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5), max_size=6))
def test_aggregated_access_units_are_returned_unchanged(packets: list[list[bytes]]):
    one = AacDepacketizer(HBR)
    for timestamp, units in enumerate(packets):
        assert one.feed(packed(units), timestamp) == units


@given(st.binary(min_size=2, max_size=4000), st.integers(20, 1400))
def test_fragmented_access_units_are_returned_unchanged(unit: bytes, mtu: int):
    one, found = AacDepacketizer(HBR), list[bytes]()
    for at in range(0, len(unit), mtu):
        found += one.feed(payload(len(unit), body=unit[at : at + mtu]), 5)
    assert found == [unit]


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 3)), max_size=8), st.booleans())
def test_any_payload_is_parsed_or_raises_rtsp_error(packets: list[tuple[bytes, int]], lossy: bool):  # noqa: FBT001
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
def test_too_many_au_headers_are_rejected_before_parsing():
    """Each header is extracted from one large integer: 4,096 of them took milliseconds."""
    with pytest.raises(RtspError, match="too many AU headers"):
        AacDepacketizer(HBR).feed(packed([b""] * 257), 0)
    assert AacDepacketizer(HBR).feed(packed([b"a"] * 256), 0) == [b"a"] * 256
