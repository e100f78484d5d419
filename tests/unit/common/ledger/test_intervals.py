from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from districam_common.ledger.intervals import (
    Interval,
    gaps,
    intersect_each,
    intersects,
    merge,
    merge_arrays,
    overlaps,
    subtract,
    total,
)

PAIRS = st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), max_size=8)
INSTANTS = range(-22, 22)


def depth(pairs: list[Interval], at: int) -> int:
    return sum(start <= at < end for start, end in pairs)


def is_merged(pairs: list[Interval]) -> bool:
    flat = [edge for pair in pairs for edge in pair]
    return all(a < b for a, b in pairwise(flat))


@given(PAIRS)
def test_merge_covers_the_same_integers(pairs: list[Interval]) -> None:
    merged = merge(pairs)
    assert is_merged(merged)
    assert all(depth(merged, at) == (depth(pairs, at) > 0) for at in INSTANTS)
    assert total(merged) == sum(depth(pairs, at) > 0 for at in INSTANTS)


@given(PAIRS)
def test_arrays_merge_as_pairs_do(pairs: list[Interval]) -> None:
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    assert merge_arrays(columns[:, 0], columns[:, 1]) == merge(pairs)


@given(PAIRS, PAIRS)
def test_subtract_leaves_the_uncovered_integers(these: list[Interval], those: list[Interval]) -> None:
    left = subtract(merge(these), merge(those))
    assert is_merged(left)
    assert all(depth(left, at) == (depth(these, at) > 0 and not depth(those, at)) for at in INSTANTS)


@given(st.integers(-20, 20), st.integers(-20, 20), PAIRS)
def test_gaps_and_covered_intervals_tile_the_window(start: int, end: int, pairs: list[Interval]) -> None:
    bare = gaps((start, end), merge(pairs))
    assert all(depth(bare, at) == (not depth(pairs, at) if start <= at < end else 0) for at in INSTANTS)


@given(PAIRS)
def test_overlaps_are_where_two_intervals_overlap(pairs: list[Interval]) -> None:
    doubled = overlaps(pairs)
    assert is_merged(doubled)
    assert all(depth(doubled, at) == (depth(pairs, at) > 1) for at in INSTANTS)


@given(PAIRS, st.integers(-20, 20), st.integers(-20, 20))
def test_intersects_is_true_if_an_integer_is_shared(pairs: list[Interval], start: int, end: int) -> None:
    shared = any(depth(pairs, at) for at in range(start, end))
    assert intersects(merge(pairs), start, end) == shared


@given(PAIRS, PAIRS)
def test_intersect_each_agrees_with_intersects(pairs: list[Interval], asked: list[Interval]) -> None:
    columns = np.array(asked, dtype=np.int64).reshape(-1, 2)
    found = intersect_each(merge(pairs), columns[:, 0], columns[:, 1]).tolist()
    assert found == [intersects(merge(pairs), start, end) for start, end in asked]
