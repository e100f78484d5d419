"""The ledger against a slow reference that evaluates each instant; and properties of every result."""

from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract import segment_array
from districam_common.ledger.ledger import LedgerInputs, State, ledger, summary
from support.histories import History, histories
from support.reference_ledger import state_at

MOMENTS_US = [-1, 0, 30_000_000]
"""Instants around each edge, and at the end of a retry's margin."""


def states_of(history: History) -> list[State]:
    known = LedgerInputs(
        revisions=history.revisions,
        segments=segment_array.array_from_entries(history.entries),
        events=history.events,
        truncations=history.log_truncations,
        log_us=history.log_us,
    )
    return ledger(history.window, known, now_us=history.now_us)


def instants(history: History, states: list[State]) -> list[int]:
    found = {state.from_us for state in states} | {state.to_us - 1 for state in states}
    for one in history.entries:
        found |= {one.start_us, one.end_us}
    for logged in history.events:
        event = logged.event
        retry_us = int(getattr(event, "next_retry_s", 0.0) * 1_000_000)
        names = ("at_us", "start_us", "end_us", "from_us", "to_us")
        found |= {getattr(event, name) for name in names if hasattr(event, name)}
        found.add(event.at_us + retry_us)
    return [edge + moment for edge in found for moment in MOMENTS_US]


@given(histories())
def test_each_instant_agrees_with_the_reference(history: History) -> None:
    states = states_of(history)
    for at_us in instants(history, states):
        found = [state for state in states if state.from_us <= at_us < state.to_us]
        if history.window[0] <= at_us < history.window[1]:
            state = found[0]
            assert (state.state, state.cause, state.detail) == state_at(at_us, history), at_us
        else:
            assert found == []


@given(histories())
def test_states_tile_the_window_and_adjacent_states_differ(history: History) -> None:
    states = states_of(history)
    assert (states[0].from_us, states[-1].to_us) == history.window
    for before, after in pairwise(states):
        assert before.from_us < before.to_us == after.from_us
        assert replace(before, from_us=after.from_us, to_us=after.to_us) != after
    assert all((state.cause is not None) == (state.state == "gap") for state in states)
    assert "unknown" not in {state.cause for state in states}
    sums = summary(states)
    others_us = sum(s.to_us - s.from_us for s in states if s.state in ("expired", "not_expected"))
    assert sums.recorded_us + sums.gap_us + sums.pending_us + others_us == (history.window[1] - history.window[0])


@given(histories(), st.randoms(use_true_random=False))
def test_order_and_duplicates_do_not_matter(history: History, random: Random) -> None:
    def shuffled(values: tuple[object, ...]) -> tuple[object, ...]:
        twice = [*values, *values]
        random.shuffle(twice)
        return tuple(twice)

    again = replace(
        history,
        revisions=shuffled(history.revisions),
        entries=shuffled(history.entries),
        events=shuffled(history.events),
        log_truncations=shuffled(history.log_truncations),
    )
    assert states_of(again) == states_of(history)


@given(histories(), st.integers(0, 1500), st.integers(0, 1500))
def test_a_part_of_the_window_has_the_same_states_as_the_whole(history: History, a: int, b: int) -> None:
    from_us, to_us = sorted((a * 100_000, b * 100_000))
    whole = states_of(replace(history, window=(0, 150_000_000)))
    clipped = [replace(state, from_us=max(from_us, state.from_us), to_us=min(to_us, state.to_us)) for state in whole]
    part = states_of(replace(history, window=(from_us, to_us)))
    assert part == [state for state in clipped if state.from_us < state.to_us]
