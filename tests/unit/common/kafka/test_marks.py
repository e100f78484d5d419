"""What a reader remembers of a log."""

from hypothesis import given
from hypothesis import strategies as st

from districam_common.kafka.marks import MARK_AGES_US, Mark, add_mark, decode_marks, encode_marks

S = 1_000_000


def climb(times_us: list[int]) -> tuple[Mark, ...]:
    ladder: tuple[Mark, ...] = ()
    for offset, append_us in enumerate(times_us):
        ladder = add_mark(ladder, Mark(offset, append_us, str(offset)))
    return ladder


@given(st.lists(st.integers(0, 60 * S), min_size=1, max_size=200))
def test_there_are_few_and_the_latest_is_the_first(steps_us: list[int]):
    times = [sum(steps_us[: n + 1]) for n in range(len(steps_us))]
    ladder = climb(times)
    assert ladder[0].offset == len(times) - 1
    assert len(ladder) <= 1 + len(MARK_AGES_US)
    assert [mark.offset for mark in ladder] == sorted({mark.offset for mark in ladder}, reverse=True)
    assert decode_marks(encode_marks(ladder)) == ladder


@given(st.integers(1, 2000))
def test_however_much_of_its_end_a_log_loses_a_mark_not_much_older_is_known(lost_s: int):
    """Of a recorder that commits every 5 s."""
    ladder = climb([n * 5 * S for n in range(2000)])
    now_us = ladder[0].append_us
    left = [now_us - mark.append_us for mark in ladder if now_us - mark.append_us >= lost_s * S]
    assert lost_s * S >= 400 * S or min(left) <= max(15 * S, 10 * lost_s * S)


def test_a_clock_that_was_set_back_leaves_no_mark_behind_the_latest():
    ladder = add_mark((Mark(7, 100 * S, "a"), Mark(5, 90 * S, "b")), Mark(6, 50 * S, "c"))
    assert [mark.offset for mark in ladder] == [6, 5]
