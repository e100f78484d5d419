import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.readers.monotonic_pts import MonotonicPts

TICK, INTERVAL_US = 3600, 40_000
S, TICKS = 1_000_000, 90_000


def read(steps: list[int], *, arrivals_us: list[int] | None = None) -> list[int]:
    """A camera of 25 fps whose timestamps are off by `steps` ticks."""
    one = MonotonicPts()
    return [
        one.feed(n * TICK + step, arrivals_us[n] if arrivals_us else n * INTERVAL_US) for n, step in enumerate(steps)
    ]


@pytest.mark.parametrize("seconds", [-3600, -2, 3, 86_400])
def test_a_step_of_the_cameras_clock_is_removed(seconds: int):
    found = read([0] * 10 + [seconds * TICKS] * 10)
    assert found == [n * TICK for n in range(20)]


def test_a_step_and_its_reversal_leave_no_offset():
    assert read([0] * 5 + [100 * TICKS] * 5 + [0] * 5) == [n * TICK for n in range(15)]


def test_a_jump_that_matches_the_arrival_times_is_kept():
    arrivals = [n * INTERVAL_US + (5 * S if n >= 5 else 0) for n in range(10)]
    found = read([0] * 5 + [5 * TICKS] * 5, arrivals_us=arrivals)
    assert found == [n * TICK + (5 * TICKS if n >= 5 else 0) for n in range(10)]


def test_delayed_arrivals_change_nothing():
    arrivals = [max(n * INTERVAL_US, 8 * S) for n in range(50)]
    assert read([0] * 50, arrivals_us=arrivals) == [n * TICK for n in range(50)]


@given(st.lists(st.integers(-20_000, 20_000), max_size=30))
def test_small_steps_are_kept(steps: list[int]):
    assert read(steps) == [n * TICK + step for n, step in enumerate(steps)]
