from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.concurrency_limiter import ConcurrencyLimiter


def test_limits_apply_per_key_and_in_total():
    limiter = ConcurrencyLimiter(3, 2)
    assert [limiter.acquire("a"), limiter.acquire("a"), limiter.acquire("a")] == [None, None, "each"]
    assert [limiter.acquire("b"), limiter.acquire("b")] == [None, "all"]
    limiter.release("a")
    assert [limiter.acquire("b"), limiter.acquire("a")] == [None, "all"]


def test_a_holder_without_a_key_counts_in_the_total_only():
    limiter = ConcurrencyLimiter(3, 1)
    assert [limiter.acquire(None) for _ in range(4)] == [None, None, None, "all"]
    limiter.release(None)
    assert limiter.acquire("a") is None


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_after_any_sequence_of_acquire_and_release_no_slot_is_lost(
    keys: list[str | None], max_total: int, max_per_key: int
):
    limiter = ConcurrencyLimiter(max_total, max_per_key)
    acquired = [key for key in keys if limiter.acquire(key) is None]
    assert len(limiter) == len(acquired) <= max_total
    assert all(acquired.count(key) <= max_per_key for key in ("a", "b"))
    for key in acquired:
        limiter.release(key)
    assert len(limiter) == 0
    assert [limiter.acquire(str(n)) for n in range(max_total)] == [None] * max_total
