"""Token buckets: a burst, then a rate per minute, and the delay until the next token."""

from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.recording.rate_limits import MINUTE_US, TokenBucket

S = 1_000_000


def test_after_the_burst_one_token_is_available_per_interval():
    bucket = TokenBucket(6, 3)
    assert [bucket.try_acquire(5 * S) for _ in range(4)] == [True, True, True, False]
    assert bucket.compute_delay_us(5 * S) == 10 * S
    assert not bucket.try_acquire(15 * S - 1)
    assert bucket.try_acquire(15 * S)
    assert bucket.compute_delay_us(15 * S) == 10 * S


def test_after_a_pause_the_full_burst_is_available_and_no_more():
    bucket = TokenBucket(6, 3)
    assert [bucket.try_acquire(0) for _ in range(3)] == [True] * 3
    assert [bucket.try_acquire(3600 * S) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.integers(0, 20 * S), min_size=1, max_size=200))
def test_no_period_exceeds_burst_plus_rate(pauses_us: list[int]):
    bucket, now_us = TokenBucket(6, 4), 0
    acquired: list[int] = []
    for pause_us in pauses_us:
        now_us += pause_us
        is_due = not bucket.compute_delay_us(now_us)
        assert bucket.try_acquire(now_us) == is_due
        acquired += [now_us] * is_due
    for n, first_us in enumerate(acquired):
        for m, last_us in enumerate(acquired[n:], start=1):
            assert m <= 4 + (last_us - first_us) * 6 / MINUTE_US
