"""Marks of records that were read."""

from hypothesis import given
from hypothesis import strategies as st

from districam_common.kafka.marks import MARK_AGES_US, Mark, add_mark, decode_marks, encode_marks

S = 1_000_000


def marks_at(times_us: list[int]) -> tuple[Mark, ...]:
    marks: tuple[Mark, ...] = ()
    for offset, append_us in enumerate(times_us):
        marks = add_mark(marks, Mark(offset, append_us, str(offset)))
    return marks


@given(st.lists(st.integers(0, 60 * S), min_size=1, max_size=200))
def test_marks_are_few_and_the_latest_is_first(steps_us: list[int]):
    times = [sum(steps_us[: n + 1]) for n in range(len(steps_us))]
    marks = marks_at(times)
    assert marks[0].offset == len(times) - 1
    assert len(marks) <= 1 + len(MARK_AGES_US)
    assert [mark.offset for mark in marks] == sorted({mark.offset for mark in marks}, reverse=True)
    assert decode_marks(encode_marks(marks)) == marks


@given(st.integers(1, 2000))
def test_after_any_truncation_a_mark_not_much_older_remains(lost_s: int):
    """For a recorder that commits every 5 s."""
    marks = marks_at([n * 5 * S for n in range(2000)])
    now_us = marks[0].append_us
    left = [now_us - mark.append_us for mark in marks if now_us - mark.append_us >= lost_s * S]
    assert lost_s * S >= 400 * S or min(left) <= max(15 * S, 10 * lost_s * S)


def test_a_clock_set_back_leaves_no_mark_after_the_latest():
    marks = add_mark((Mark(7, 100 * S, "a"), Mark(5, 90 * S, "b")), Mark(6, 50 * S, "c"))
    assert [mark.offset for mark in marks] == [6, 5]
