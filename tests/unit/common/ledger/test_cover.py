from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract import segment_array
from districam_common.contract.segment_array import IndexEntry
from districam_common.ledger import cover
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.cover import (
    Piece,
    Run,
    StoredFragment,
    run_cover,
    runs_of,
    segment_cover,
    unexplained_overlaps,
)
from districam_common.ledger.intervals import intersects, merge
from support.histories import EPOCHS, entry, lost

S = 1_000_000
E0, E1, E2 = EPOCHS[:3]


@st.composite
def epochs(draw: st.DrawFn) -> list[tuple[str, StoredFragment]]:
    """Fragments of overlapping epochs; the fragments of an epoch are contiguous."""
    out: list[tuple[str, StoredFragment]] = []
    for epoch in EPOCHS[: draw(st.integers(1, 4))]:
        at_us = draw(st.integers(0, 20)) * S
        for seq, length_s in enumerate(draw(st.lists(st.integers(1, 3), min_size=1, max_size=8))):
            out.append((epoch, StoredFragment(seq, at_us, at_us + length_s * S, draw(st.booleans()))))
            at_us += length_s * S
    return out


@st.composite
def stored(draw: st.DrawFn) -> list[tuple[str, list[StoredFragment]]]:
    """Segments of these epochs, with holes, and with nested and overlapping copies."""
    by_epoch: dict[str, list[StoredFragment]] = {}
    for epoch, fragment in draw(epochs()):
        by_epoch.setdefault(epoch, []).append(fragment)
    out: list[tuple[str, list[StoredFragment]]] = []
    for epoch, fragments in by_epoch.items():
        for _ in range(draw(st.integers(1, 4))):
            first = draw(st.integers(0, len(fragments) - 1))
            out.append((epoch, fragments[first : draw(st.integers(first + 1, len(fragments)))]))
    return draw(st.permutations(out))


def entries_of(segments: Sequence[tuple[str, list[StoredFragment]]]) -> list[IndexEntry]:
    return [
        entry(epoch, made[0].seq, made[-1].seq, made[0].start_us, made[-1].end_us, flags=int(made[0].is_keyframe))
        for epoch, made in segments
    ]


@given(stored())
def test_runs_have_each_stored_seq_once_and_end_at_missing_ones(
    segments: list[tuple[str, list[StoredFragment]]],
) -> None:
    fragments = [(epoch, fragment) for epoch, made in segments for fragment in made]
    runs = runs_of(fragments)
    held = [(run.epoch, fragment) for run in runs for fragment in run.fragments]
    assert sorted(held, key=repr) == sorted(set(fragments), key=repr)
    for run in runs:
        assert all(b.seq == a.seq + 1 for a, b in pairwise(run.fragments))
    for before, after in pairwise(runs):
        assert before.epoch != after.epoch or after.fragments[0].seq > before.fragments[-1].seq + 1


@given(stored())
def test_run_cover_has_every_stored_instant_once(segments: list[tuple[str, list[StoredFragment]]]) -> None:
    runs = runs_of((epoch, fragment) for epoch, made in segments for fragment in made)
    pieces = run_cover(runs)
    assert all(a.from_us < a.to_us <= b.from_us < b.to_us for a, b in pairwise(pieces))
    for at_us in range(0, 50 * S, S // 2):
        is_stored = any(run.start_us <= at_us < run.end_us for run in runs)
        showing = [piece.run for piece in pieces if piece.from_us <= at_us < piece.to_us]
        assert len(showing) == is_stored
        assert all(runs[run].start_us <= at_us < runs[run].end_us for run in showing)


@given(stored())
def test_the_cover_leaves_a_run_at_its_end_for_a_keyframe_at_or_before_it(
    segments: list[tuple[str, list[StoredFragment]]],
) -> None:
    runs = runs_of((epoch, fragment) for epoch, made in segments for fragment in made)
    for piece in run_cover(runs):
        run = runs[piece.run]
        ends = {other.end_us for other in runs}
        keyframes = {fragment.start_us for fragment in run.fragments if fragment.is_keyframe}
        assert piece.from_us in {run.start_us} | keyframes | ends


@given(stored())
def test_segment_cover_has_every_stored_instant_once(segments: list[tuple[str, list[StoredFragment]]]) -> None:
    entries = entries_of(segments)
    pieces = segment_cover(segment_array.array_from_entries(entries))
    assert all(a.from_us < a.to_us <= b.from_us < b.to_us for a, b in pairwise(pieces))
    for at_us in range(0, 50 * S, S // 2):
        is_stored = any(one.start_us <= at_us < one.end_us for one in entries)
        showing = [entries[piece.row] for piece in pieces if piece.from_us <= at_us < piece.to_us]
        assert len(showing) == is_stored
        assert all(one.start_us <= at_us < one.end_us for one in showing)


@given(stored())
def test_isolated_runs_have_the_same_pieces_as_in_the_exact_cover(
    segments: list[tuple[str, list[StoredFragment]]],
) -> None:
    array = segment_array.array_from_entries(entries_of(segments))
    assert segment_cover(array) == cover.exact_cover(array, range(len(array)))


@given(stored(), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=3))
def test_a_part_of_the_time_has_the_same_pieces(
    segments: list[tuple[str, list[StoredFragment]]], asked: list[tuple[int, int]]
) -> None:
    array = segment_array.array_from_entries(entries_of(segments))
    within = merge((from_s * S, to_s * S) for from_s, to_s in asked)
    whole = segment_cover(array)
    assert segment_cover(array, within) == [p for p in whole if intersects(within, p.from_us, p.to_us)]


@given(stored(), st.sets(st.sampled_from(EPOCHS)))
def test_unexplained_overlaps_are_of_two_epochs_without_a_handover(
    segments: list[tuple[str, list[StoredFragment]]], handed_over: set[str]
) -> None:
    entries = entries_of(segments)
    words = [LoggedEvent(lost(epoch, 0, 0, "handover")) for epoch in handed_over]
    words += [LoggedEvent(lost(epoch, 0, 0, "source_silent")) for epoch in EPOCHS]
    reported = unexplained_overlaps(segment_array.array_from_entries(entries), words)
    for at_us in range(0, 50 * S, S // 2):
        there = {one.epoch for one in entries if one.start_us <= at_us < one.end_us} - handed_over
        assert any(from_us <= at_us < to_us for from_us, to_us in reported) == (len(there) > 1)


def run(epoch: str, start_s: int, keyframes: str) -> Run:
    """A run of 2 s fragments from `start_s`; a `k` is a keyframe."""
    return Run(
        epoch,
        tuple(
            StoredFragment(n, (start_s + 2 * n) * S, (start_s + 2 * n + 2) * S, mark == "k")
            for n, mark in enumerate(keyframes)
        ),
    )


def shown(runs: list[Run]) -> list[tuple[int, int, int]]:
    return [(piece.run, piece.from_us // S, piece.to_us // S) for piece in run_cover(runs)]


def test_the_cover_of_nothing_is_empty() -> None:
    assert run_cover([]) == []
    assert segment_cover(segment_array.array_from_entries([])) == []
    assert unexplained_overlaps(segment_array.array_from_entries([]), []) == []


def test_the_next_run_begins_at_its_last_keyframe_before_the_end_of_the_first() -> None:
    assert shown([run(E0, 0, "k-k-k"), run(E1, 4, "k-k-k")]) == [(0, 0, 8), (1, 8, 14)]


def test_the_next_run_begins_at_the_end_without_a_keyframe_before() -> None:
    assert shown([run(E0, 0, "k-k-k"), run(E1, 4, "----k")]) == [(0, 0, 10), (1, 10, 14)]


def test_the_run_that_ends_last_continues_and_cuts_the_piece_before() -> None:
    runs = [run(E0, 0, "k-"), run(E1, 2, "--"), run(E2, 2, "k----")]
    assert shown(runs) == [(0, 0, 2), (2, 2, 12)]


def test_a_run_is_replaced_by_a_longer_one_at_the_first_change() -> None:
    assert shown([run(E0, 4, "k-"), run(E1, 2, "k--"), run(E2, 6, "---k")]) == [(1, 2, 8), (2, 8, 14)]
    assert shown([run(E0, 0, "k-"), run(E1, 2, "---"), run(E2, 2, "k--------")]) == [(0, 0, 2), (2, 2, 20)]


def test_a_hole_in_an_epoch_is_filled_by_another_epoch() -> None:
    stored_runs = runs_of(
        (run.epoch, fragment)
        for run in (run(E0, 0, "k-k-k-k-k-k-"), run(E1, 4, "k-k-k-k-"))
        for fragment in run.fragments
        if not (run.epoch == E0 and fragment.seq in (3, 4))
    )
    pieces = [(stored_runs[p.run].epoch, p.from_us // S, p.to_us // S) for p in run_cover(stored_runs)]
    assert pieces == [(E0, 0, 4), (E1, 4, 20), (E0, 20, 24)]


def test_a_playlist_has_no_redundant_copies() -> None:
    entries = [
        entry(E0, 0, 4, 0, 10 * S),
        entry(E0, 1, 2, 2 * S, 6 * S),
        entry(E0, 3, 5, 6 * S, 12 * S),
        entry(E0, 4, 9, 8 * S, 20 * S),
        entry(E0, 12, 13, 24 * S, 28 * S),
    ]
    assert segment_cover(segment_array.array_from_entries(entries)) == [
        Piece(0, 0, 10 * S),
        Piece(3, 10 * S, 20 * S),
        Piece(4, 24 * S, 28 * S),
    ]


def test_a_playlist_changes_epoch_at_a_segment_that_starts_with_a_keyframe() -> None:
    old = [entry(E0, n * 5, n * 5 + 4, n * 10 * S, (n + 1) * 10 * S) for n in range(3)]
    new = [entry(E1, n * 5, n * 5 + 4, (n * 10 + 15) * S, (n * 10 + 25) * S) for n in range(4)]
    pieces = segment_cover(segment_array.array_from_entries([*old, *new]))
    assert [(p.row, p.from_us // S, p.to_us // S) for p in pieces] == [
        (0, 0, 10),
        (1, 10, 20),
        (2, 20, 25),
        (4, 25, 35),
        (5, 35, 45),
        (6, 45, 55),
    ]


def test_a_playlist_has_no_segments_covered_by_the_next_epoch() -> None:
    old = [entry(E0, n * 5, n * 5 + 4, n * 10 * S, (n + 1) * 10 * S) for n in range(3)]
    pieces = segment_cover(segment_array.array_from_entries([*old, entry(E1, 0, 9, 12 * S, 52 * S)]))
    assert pieces == [Piece(0, 0, 10 * S), Piece(1, 10 * S, 12 * S), Piece(3, 12 * S, 52 * S)]
