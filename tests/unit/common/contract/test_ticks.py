from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract.ticks import RTP_MODULUS, from_us, to_us, unwrap

US = st.integers(-(10**17), 10**17)
RATES = st.sampled_from([8_000, 16_000, 44_100, 48_000, 90_000])


@given(US, RATES)
def test_ticks_round_trip_through_microseconds(ticks: int, rate: int) -> None:
    assert from_us(to_us(ticks, rate), rate) == ticks


@given(US, RATES)
def test_microseconds_are_off_by_half_a_tick_at_most(us: int, rate: int) -> None:
    assert abs(to_us(from_us(us, rate), rate) - us) <= 500_000 / rate + 0.5


def test_a_second_of_video_is_90_000_ticks() -> None:
    assert (from_us(1_000_000), to_us(90_000), to_us(1)) == (90_000, 1_000_000, 11)


@given(st.integers(0, RTP_MODULUS - 1), st.integers(-(2**50), 2**50))
def test_unwrap_returns_the_nearest_congruent_value(stamp: int, near: int) -> None:
    full = unwrap(stamp, near)
    assert full % RTP_MODULUS == stamp
    assert abs(full - near) <= RTP_MODULUS // 2


def test_a_timestamp_after_the_wrap_continues() -> None:
    assert unwrap(5, RTP_MODULUS - 10) == RTP_MODULUS + 5
    assert unwrap(RTP_MODULUS - 5, RTP_MODULUS + 3) == RTP_MODULUS - 5
