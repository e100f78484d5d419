"""Half-open intervals [from, to) of integers, as lists of pairs. *Merged* means sorted, disjoint and not touching."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Interval = tuple[int, int]
_NEVER = -(1 << 63)


def merge(pairs: Iterable[Interval]) -> list[Interval]:
    """The union of `pairs`, merged; empty and reversed pairs are ignored."""
    out: list[Interval] = []
    for start, end in sorted(pair for pair in pairs if pair[0] < pair[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def merge_arrays(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[Interval]:
    """`merge` of two arrays of equal length; takes a few milliseconds for a month of segments."""
    real = starts < ends
    starts, ends = starts[real], ends[real]
    if not len(starts):
        return []
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    first = np.flatnonzero(np.concatenate(([True], starts[1:] > reach[:-1])))
    last = np.concatenate((first[1:] - 1, [len(starts) - 1]))
    return list(zip(starts[first].tolist(), reach[last].tolist(), strict=True))


def subtract(these: Sequence[Interval], those: Sequence[Interval]) -> list[Interval]:
    """The parts of `these` that are not in `those`; both merged, and so is the result."""
    out: list[Interval] = []
    n = 0
    for start, end in these:
        while n < len(those) and those[n][1] <= start:
            n += 1
        at, m = start, n
        while m < len(those) and those[m][0] < end:
            out.append((at, those[m][0]))
            at, m = those[m][1], m + 1
        out.append((at, end))
    return [(start, end) for start, end in out if start < end]


def gaps(window: Interval, covered: Sequence[Interval]) -> list[Interval]:
    """The parts of `window` that the merged `covered` does not contain."""
    return subtract([window] if window[0] < window[1] else [], covered)


def overlaps(pairs: Iterable[Interval]) -> list[Interval]:
    """Where at least two of `pairs` overlap, merged."""
    steps = sorted(step for start, end in pairs if start < end for step in ((start, 1), (end, -1)))
    out: list[Interval] = []
    depth = 0
    for (at, change), (following, _) in pairwise([*steps, (0, 0)]):
        depth += change
        if depth >= 2:
            out.append((at, following))
    return merge(out)


def intersects(merged: Sequence[Interval], start: int, end: int) -> bool:
    """Whether [start, end) and `merged` intersect."""
    n = bisect_right(merged, start, key=lambda pair: pair[0]) - 1
    if n >= 0 and merged[n][1] > start:
        return start < end
    return n + 1 < len(merged) and merged[n + 1][0] < end


def intersect_each(merged: Sequence[Interval], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool]:
    """`intersects` for each pair of two arrays of equal length."""
    bounds = np.array([(_NEVER, _NEVER), *merged], dtype=np.int64)
    before = np.searchsorted(bounds[1:, 0], ends)  # number of intervals that begin before each end; the last ends last
    return (starts < ends) & (bounds[before, 1] > starts)


def total(merged: Iterable[Interval]) -> int:
    """Total length of the intervals."""
    return sum(end - start for start, end in merged)
