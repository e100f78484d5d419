import pytest

from districam_common.index.random_cache import random_cache


def _asked(size: int, of: int, rounds: int) -> tuple[int, int]:
    """Number of calls of the function in the first and in the last loop over this many arguments."""
    calls: list[bytes] = []

    @random_cache(size)
    def ask(argument: bytes) -> int:
        calls.append(argument)
        return int(argument)

    counts: list[int] = []
    for _ in range(rounds):
        before = len(calls)
        assert [ask(b"%d" % n) for n in range(of)] == list(range(of))
        counts.append(len(calls) - before)
    return counts[0], counts[-1]


def test_results_that_fit_are_computed_once():
    assert _asked(1000, 1000, 3) == (1000, 0)


def test_a_loop_larger_than_the_cache_still_has_hits():
    first, later = _asked(1000, 1100, 8)
    assert first == 1100
    assert later < 400, "with one camera more than the cache holds, every call is a miss"
    assert _asked(1000, 1500, 8)[1] < 1100


def test_an_exception_is_not_cached():
    calls: list[bytes] = []

    @random_cache(10)
    def fails_once(argument: bytes) -> int:
        calls.append(argument)
        if len(calls) == 1:
            raise ValueError("once")
        return 1

    with pytest.raises(ValueError, match="once"):
        fails_once(b"x")
    assert fails_once(b"x") == 1
