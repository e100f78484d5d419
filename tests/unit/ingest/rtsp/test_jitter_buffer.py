import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.rtsp import jitter_buffer as module
from districam_ingest.rtsp.jitter_buffer import MAX_HELD_PACKETS, MAX_WAIT_US, JitterBuffer


def packet(seq: int, ssrc: int = 5) -> bytes:
    return b"\x80\x60" + (seq & 0xFFFF).to_bytes(2, "big") + bytes(4) + ssrc.to_bytes(4, "big")


def seqs(packets: list[tuple[bytes, int]]) -> list[int]:
    return [int.from_bytes(one[2:4], "big") for one, _ in packets]


def passed(one: JitterBuffer, *numbers: int, at_us: int = 0) -> list[int]:
    return [seq for number in numbers for seq in seqs(one.feed(packet(number), at_us))]


def test_packets_in_sequence_pass_at_once():
    one = JitterBuffer()
    assert passed(one, 65_534, 65_535, 0, 1) == [65_534, 65_535, 0, 1]
    assert one.drain_all() == []


def test_reordered_packets_are_sorted_and_keep_their_arrival_times():
    one = JitterBuffer()
    passed(one, 1)
    assert one.feed(packet(3), 30) == []
    assert one.feed(packet(4), 40) == []
    assert one.feed(packet(2), 50) == [(packet(2), 50), (packet(3), 30), (packet(4), 40)]


def test_missing_packets_are_given_up_after_the_maximum_wait():
    one = JitterBuffer()
    passed(one, 1)
    one.feed(packet(3), 100)
    one.feed(packet(6), 200)
    assert one.drain(100 + MAX_WAIT_US - 1) == []
    assert seqs(one.drain(100 + MAX_WAIT_US)) == [3]
    assert seqs(one.drain(200 + MAX_WAIT_US)) == [6]
    assert passed(one, 2, 5, 7) == [7]  # too late


def test_the_number_of_held_packets_is_bounded():
    one = JitterBuffer()
    passed(one, 0)
    assert passed(one, *range(2, MAX_HELD_PACKETS + 2)) == []
    assert passed(one, MAX_HELD_PACKETS + 2) == [*range(2, MAX_HELD_PACKETS + 3)]


def test_duplicate_packets_are_dropped():
    one = JitterBuffer()
    assert passed(one, 1, 1, 3, 3, 2, 2, 3, 1) == [1, 2, 3]


@pytest.mark.parametrize("seq", [30_000, 5_000, 60_000])
def test_a_jump_of_sequence_numbers_restarts_the_numbering_after_the_held_packets(seq: int):
    one = JitterBuffer()
    assert passed(one, 1, 3, seq, seq + 1) == [1, 3, seq, seq + 1]


def test_a_new_ssrc_restarts_the_numbering():
    one = JitterBuffer()
    passed(one, 7)
    assert seqs(one.feed(packet(2, ssrc=6), 0)) == [2]
    assert seqs(one.feed(packet(3, ssrc=6), 0)) == [3]


@pytest.mark.parametrize("noise", [b"", b"\x80" * 11, b"\x40" + bytes(20)])
def test_packets_that_are_not_rtp_are_dropped(noise: bytes):
    one = JitterBuffer()
    assert one.feed(noise, 0) == []
    assert passed(one, 9) == [9]


@given(st.integers(0, 0xFFFF), st.integers(1, 300), st.integers(0, 20), st.randoms(use_true_random=False))
def test_a_stream_reordered_within_bounds_is_restored(first: int, count: int, reach: int, dice: random.Random):
    numbers = [(first + n) & 0xFFFF for n in range(count)]
    mixed = sorted(range(1, count), key=lambda n: n + dice.random() * reach)
    one = JitterBuffer()
    out = passed(one, first, *(numbers[n] for n in mixed))
    assert [*out, *seqs(one.drain_all())] == numbers


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 1)), max_size=200))
def test_no_packet_is_returned_twice_and_held_packets_are_bounded(arrivals: list[tuple[int, int]]):
    one = JitterBuffer()
    given_out = 0
    for at_us, (seq, ssrc) in enumerate(arrivals):
        given_out += len(one.feed(packet(seq, ssrc), at_us))
        assert one.held_count <= module.MAX_HELD_PACKETS
    assert given_out + len(one.drain_all()) <= len(arrivals)
