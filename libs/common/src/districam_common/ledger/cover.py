"""The cover: chooses one stored copy for each instant where epochs or copies overlap (docs/design/contract.md).

It works on runs. It follows a run to its end, then switches to the overlapping run that ends last: at that run's last
keyframe at or before the end, cutting the previous piece there; if it has none, at the end itself.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from districam_common.contract.events import Lost
from districam_common.contract.segment_array import STARTS_WITH_KEYFRAME, SegmentArray, epoch_text
from districam_common.ledger.causes import LoggedEvent, order_by_seq
from districam_common.ledger.intervals import Interval, intersect_each, intersects, merge_arrays, overlaps


@dataclass(frozen=True, slots=True)
class StoredFragment:
    """The fields of a fragment that the cover uses; decode time, half-open, µs UTC."""

    seq: int
    start_us: int
    end_us: int
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive `seq` of one epoch, each once, from any of its stored copies; in order, at least one fragment."""

    epoch: str
    fragments: tuple[StoredFragment, ...]

    @property
    def start_us(self) -> int:
        return self.fragments[0].start_us

    @property
    def end_us(self) -> int:
        return self.fragments[-1].end_us


@dataclass(frozen=True, slots=True)
class RunPiece:
    """[from_us, to_us) is taken from the run with index `run` in the input."""

    run: int
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Piece:
    """[from_us, to_us) is taken from the segment in row `row` of the input array."""

    row: int
    from_us: int
    to_us: int


def runs_of(stored: Iterable[tuple[str, StoredFragment]]) -> list[Run]:
    """Groups stored fragments (epoch, fragment), in any order and with copies, into runs sorted by epoch, then `seq`."""
    by_seq = {(epoch, fragment.seq): fragment for epoch, fragment in stored}
    out: list[tuple[str, list[StoredFragment]]] = []
    for (epoch, seq), fragment in sorted(by_seq.items(), key=lambda item: item[0]):
        if out and out[-1][0] == epoch and out[-1][1][-1].seq + 1 == seq:
            out[-1][1].append(fragment)
        else:
            out.append((epoch, [fragment]))
    return [Run(epoch, tuple(fragments)) for epoch, fragments in out]


def run_cover(runs: Sequence[Run]) -> list[RunPiece]:
    """The pieces of the cover, in order of time, disjoint; every instant of a run lies in exactly one of them."""
    pieces: list[RunPiece] = []
    waiting = sorted(range(len(runs)), key=lambda n: runs[n].epoch, reverse=True)
    waiting.sort(key=lambda n: (runs[n].start_us, -runs[n].end_us))  # equal times: the later epoch first, as in _Live
    waiting.reverse()
    live: list[_Live] = []
    while waiting or live:
        end_us = pieces[-1].to_us if pieces else runs[waiting[-1]].start_us
        while waiting and runs[waiting[-1]].start_us <= end_us:
            heapq.heappush(live, _Live(waiting.pop(), runs))
        if not live:
            live = [_Live(waiting.pop(), runs)]
        best = heapq.heappop(live).number
        if runs[best].end_us > end_us:
            _switch_to(pieces, best, runs[best], end_us)
        else:
            live = []  # it ends last of the live runs, so all of them are covered
    return pieces


@dataclass(frozen=True, slots=True)
class _Live:
    """Heap entry of a run that has begun; the run that ends last comes first."""

    number: int
    runs: Sequence[Run]

    def __lt__(self, other: "_Live") -> bool:
        a, b = self.runs[self.number], self.runs[other.number]
        return (a.end_us, a.epoch) > (b.end_us, b.epoch)


def _switch_to(pieces: list[RunPiece], number: int, run: Run, end_us: int) -> None:
    """Switches to `run` at its last keyframe at or before `end_us`, else at `end_us`; cuts the last piece there."""
    at = bisect_right(run.fragments, end_us, key=lambda fragment: fragment.start_us)
    entries = (f.start_us for f in reversed(run.fragments[:at]) if f.is_keyframe)
    enter_us = next(entries, max(run.start_us, end_us))
    if pieces and pieces[-1].to_us > enter_us:
        # Only the last piece can be cut: had `run` begun before that piece did, it would have been chosen instead.
        pieces[-1] = replace(pieces[-1], to_us=enter_us)
    pieces.append(RunPiece(number, enter_us, run.end_us))


# ---- by segments


def segment_cover(segments: SegmentArray, within: Sequence[Interval] | None = None) -> list[Piece]:
    """The cover by whole segments, for playlists: pieces in order of time, disjoint.

    Every instant of a segment lies in exactly one piece. A piece that is narrower than its segment uses a part of it;
    a player that plays whole segments repeats at most one segment at a change of epoch.

    Args:
        segments: the segments of one camera, with all that overlap them.
        within: merged; only pieces that touch it are returned, not cut to it. None: all pieces.
    """
    order = order_by_seq(segments)
    if not len(order):
        return []
    ordered = segments.take(order)
    table = _build_run_table(ordered)
    is_overlapping = table.has_overlap[table.number]
    isolated = _isolated_pieces(ordered, table, ~is_overlapping, within)
    pieces = [
        Piece(row, a, b)
        for row, a, b in zip(order[isolated.rows].tolist(), isolated.from_us, isolated.to_us, strict=True)
    ]
    for some in _overlapping_groups(table, is_overlapping):
        rows = np.sort(order[some])
        found = exact_cover(segments[rows], rows.tolist())
        pieces += [p for p in found if within is None or intersects(within, p.from_us, p.to_us)]
    return sorted(pieces, key=lambda piece: piece.from_us)


@dataclass(frozen=True, slots=True)
class _RunTable:
    """The runs of rows that are sorted by epoch and `seq`.

    Attributes:
        number: per row, the number of its run.
        group: per run, the number of its group; runs of different groups do not overlap in time.
        has_overlap: per run, whether it overlaps another run in time or contains copies of a `seq`.
    """

    number: NDArray[np.intp]
    group: NDArray[np.intp]
    has_overlap: NDArray[np.bool]


def _build_run_table(rows: SegmentArray) -> _RunTable:
    is_new_epoch = np.ones(len(rows), dtype=bool)
    is_new_epoch[1:] = (rows["epoch_hi"][1:] != rows["epoch_hi"][:-1]) | (rows["epoch_lo"][1:] != rows["epoch_lo"][:-1])
    rank = np.cumsum(is_new_epoch) << 33
    reach = np.maximum.accumulate(rank + rows["last_seq"])
    before = np.concatenate(([-2], reach[:-1]))
    first = rank + rows["first_seq"]
    begins = is_new_epoch | (first > before + 1)
    number = np.cumsum(begins) - 1
    heads = np.flatnonzero(begins)
    starts = np.minimum.reduceat(rows["start_us"], heads)
    ends = np.maximum.reduceat(rows["end_us"], heads)
    copied = np.logical_or.reduceat(~begins & (first <= before), heads)
    by_start = np.lexsort((ends, starts))
    far = np.maximum.accumulate(ends[by_start])
    apart = np.concatenate(([True], starts[by_start][1:] >= far[:-1]))
    group = np.empty(len(heads), dtype=np.intp)
    group[by_start] = np.cumsum(apart) - 1
    return _RunTable(number, group, copied | (np.bincount(group)[group] > 1))


@dataclass(frozen=True, slots=True)
class _IsolatedPieces:
    rows: NDArray[np.intp]
    from_us: list[int]
    to_us: list[int]


def _isolated_pieces(
    rows: SegmentArray, table: _RunTable, chosen: NDArray[np.bool], within: Sequence[Interval] | None
) -> _IsolatedPieces:
    """Pieces of runs without overlap: each segment from the end of the segment before it in its run."""
    starts, ends = rows["start_us"], rows["end_us"]
    follows = np.concatenate(([False], table.number[1:] == table.number[:-1]))
    from_us = np.where(follows, np.maximum(starts, np.concatenate(([0], ends[:-1]))), starts)
    is_asked = True if within is None else intersect_each(within, from_us, ends)
    shown = np.flatnonzero(chosen & (from_us < ends) & is_asked)
    return _IsolatedPieces(shown, from_us[shown].tolist(), ends[shown].tolist())


def _overlapping_groups(table: _RunTable, is_overlapping: NDArray[np.bool]) -> list[NDArray[np.intp]]:
    """Row numbers of each group of overlapping runs."""
    rows = np.flatnonzero(is_overlapping)
    if not len(rows):
        return []
    groups = table.group[table.number[rows]]
    in_order = np.argsort(groups, kind="stable")
    return np.split(rows[in_order], np.flatnonzero(np.diff(groups[in_order])) + 1)


def exact_cover(segments: SegmentArray, numbers: Sequence[int]) -> list[Piece]:
    """The cover computed by `run_cover`, for few segments; `numbers` are the row numbers to return for them."""
    runs, rows_of = _segment_runs(segments)
    out: list[Piece] = []
    for piece in run_cover(runs):
        fragments, rows = runs[piece.run].fragments, rows_of[piece.run]
        first = bisect_right(fragments, piece.from_us, key=lambda fragment: fragment.start_us) - 1
        for fragment, row in zip(fragments[first:], rows[first:], strict=True):
            from_us, to_us = max(fragment.start_us, piece.from_us), min(fragment.end_us, piece.to_us)
            if from_us < to_us:
                out.append(Piece(numbers[row], from_us, to_us))
    return out


@dataclass(frozen=True, slots=True)
class _Row:
    """A segment and its row in the input array."""

    row: int
    epoch: tuple[int, int]
    first_seq: int
    last_seq: int
    start_us: int
    end_us: int
    is_keyframe: bool


def _segment_runs(segments: SegmentArray) -> tuple[list[Run], list[list[int]]]:
    """Runs whose fragments are segments, each cut at the end of the one before it; and the rows of each run."""
    chains: list[list[_Row]] = []
    for row in _rows(segments):
        chain = chains[-1] if chains else []
        if not chain or chain[0].epoch != row.epoch or row.first_seq > chain[-1].last_seq + 1:
            chains.append([row])
        elif row.last_seq > chain[-1].last_seq:
            while len(chain) > 1 and row.first_seq <= chain[-2].last_seq + 1:
                chain.pop()  # a copy whose seqs its neighbours contain
            chain.append(row)
    return [_run_of(chain) for chain in chains], [[row.row for row in chain] for chain in chains]


def _rows(segments: SegmentArray) -> Iterator[_Row]:
    order = order_by_seq(segments)
    for row, values in zip(order.tolist(), segments[order].tolist(), strict=True):
        hi, lo, first_seq, last_seq, start_us, end_us, _, _, flags = values
        yield _Row(row, (hi, lo), first_seq, last_seq, start_us, end_us, bool(flags & STARTS_WITH_KEYFRAME))


def _run_of(chain: Sequence[_Row]) -> Run:
    fragments: list[StoredFragment] = []
    for row in chain:
        start_us = max(row.start_us, fragments[-1].end_us) if fragments else row.start_us
        is_keyframe = row.is_keyframe and start_us == row.start_us
        fragments.append(StoredFragment(row.first_seq, start_us, row.end_us, is_keyframe))
    return Run(epoch_text(*chain[0].epoch), tuple(fragments))


# ---- overlaps that the cover hides


def unexplained_overlaps(segments: SegmentArray, events: Iterable[LoggedEvent]) -> list[Interval]:
    """Where two epochs are stored without a handover to explain it, merged: the cover hides pictures there."""
    handed_over = {t.event.epoch for t in events if isinstance(t.event, Lost) and t.event.cause == "handover"}
    ordered = segments[order_by_seq(segments)]
    halves = ordered[["epoch_hi", "epoch_lo"]]
    stored: list[Interval] = []
    for rows in np.split(ordered, np.flatnonzero(halves[1:] != halves[:-1]) + 1):
        if len(rows) and epoch_text(*rows[0].tolist()[:2]) not in handed_over:
            stored += merge_arrays(rows["start_us"], rows["end_us"])
    return overlaps(stored)
