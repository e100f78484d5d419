from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.concurrency_limiter import ConcurrencyLimiter


def test_limits_apply_per_key_and_in_total():
    crowd = ConcurrencyLimiter(3, 2)
    assert [crowd.acquire("a"), crowd.acquire("a"), crowd.acquire("a")] == [None, None, "each"]
    assert [crowd.acquire("b"), crowd.acquire("b")] == [None, "all"]
    crowd.release("a")
    assert [crowd.acquire("b"), crowd.acquire("a")] == [None, "all"]


def test_a_holder_without_a_key_counts_in_the_total_only():
    crowd = ConcurrencyLimiter(3, 1)
    assert [crowd.acquire(None) for _ in range(4)] == [None, None, None, "all"]
    crowd.release(None)
    assert crowd.acquire("a") is None


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_after_any_sequence_of_acquire_and_release_no_slot_is_lost(
    comings: list[str | None], most: int, most_each: int
):
    crowd = ConcurrencyLimiter(most, most_each)
    let_in = [who for who in comings if crowd.acquire(who) is None]
    assert len(crowd) == len(let_in) <= most
    assert all(let_in.count(who) <= most_each for who in ("a", "b"))
    for who in let_in:
        crowd.release(who)
    assert len(crowd) == 0
    assert [crowd.acquire(str(n)) for n in range(most)] == [None] * most
