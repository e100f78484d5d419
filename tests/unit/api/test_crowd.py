from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.crowd import Crowd


def test_each_has_its_share_and_all_have_the_whole():
    crowd = Crowd(3, 2)
    assert [crowd.enter("a"), crowd.enter("a"), crowd.enter("a")] == [None, None, "each"]
    assert [crowd.enter("b"), crowd.enter("b")] == [None, "all"]
    crowd.leave("a")
    assert [crowd.enter("b"), crowd.enter("a")] == [None, "all"]


def test_who_has_no_name_counts_among_all_alone():
    crowd = Crowd(3, 1)
    assert [crowd.enter(None) for _ in range(4)] == [None, None, None, "all"]
    crowd.leave(None)
    assert crowd.enter("a") is None


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_whoever_came_and_went_no_place_is_lost(comings: list[str | None], most: int, most_each: int):
    crowd = Crowd(most, most_each)
    let_in = [who for who in comings if crowd.enter(who) is None]
    assert len(crowd) == len(let_in) <= most
    assert all(let_in.count(who) <= most_each for who in ("a", "b"))
    for who in let_in:
        crowd.leave(who)
    assert len(crowd) == 0
    assert [crowd.enter(str(n)) for n in range(most)] == [None] * most
