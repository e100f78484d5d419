from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.concurrency_limiter import ConcurrencyLimiter


def test_each_has_its_share_and_all_have_the_whole():
    crowd = ConcurrencyLimiter(3, 2)
    assert [crowd.acquire("a"), crowd.acquire("a"), crowd.acquire("a")] == [None, None, "each"]
    assert [crowd.acquire("b"), crowd.acquire("b")] == [None, "all"]
    crowd.release("a")
    assert [crowd.acquire("b"), crowd.acquire("a")] == [None, "all"]


def test_who_has_no_name_counts_among_all_alone():
    crowd = ConcurrencyLimiter(3, 1)
    assert [crowd.acquire(None) for _ in range(4)] == [None, None, None, "all"]
    crowd.release(None)
    assert crowd.acquire("a") is None


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_whoever_came_and_went_no_place_is_lost(comings: list[str | None], most: int, most_each: int):
    crowd = ConcurrencyLimiter(most, most_each)
    let_in = [who for who in comings if crowd.acquire(who) is None]
    assert len(crowd) == len(let_in) <= most
    assert all(let_in.count(who) <= most_each for who in ("a", "b"))
    for who in let_in:
        crowd.release(who)
    assert len(crowd) == 0
    assert [crowd.acquire(str(n)) for n in range(most)] == [None] * most
