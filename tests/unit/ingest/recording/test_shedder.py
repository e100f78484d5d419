import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.recording.shedder import MAX_FRAGMENT_PAYLOAD_BYTES, MAX_SHED_RANGE_US, Shedder, ShedRange
from districam_ingest.units import UnmuxedFragment
from unit.ingest.samples import unit

S = 1_000_000
START_US = 1_790_000_000 * S


def make_fragment(seq: int, *, key: bool, step_us: int = 2 * S, size: int = 100, units: int = 2) -> UnmuxedFragment:
    start_us = START_US + seq * step_us
    return UnmuxedFragment(
        seq=seq,
        units=tuple(unit(start_us + n * 1000, key=key and n == 0, size=size if n == 0 else 10) for n in range(units)),
        duration_us=step_us,
        last_duration_ticks=1,
        starts_segment=False,
        ends=None,
    )


def shed_all(
    offered_fragments: Sequence[UnmuxedFragment], room_per_fragment: Sequence[bool]
) -> list[UnmuxedFragment | ShedRange]:
    shedder = Shedder()
    results: list[UnmuxedFragment | ShedRange] = []
    for one, has_room in zip(offered_fragments, room_per_fragment, strict=True):
        results += shedder.feed(one, has_room=has_room)
    return [*results, *shedder.drain()]


fragments = st.lists(
    st.tuples(
        st.booleans(), st.booleans(), st.sampled_from([1, 1, 1, 1, MAX_FRAGMENT_PAYLOAD_BYTES + 1]), st.integers(1, 3)
    ),
    min_size=1,
    max_size=40,
)


@given(fragments, st.sampled_from([300_000, 2 * S]))
def test_every_access_unit_is_sent_or_in_exactly_one_reported_range(
    case: list[tuple[bool, bool, int, int]], step_us: int
):
    offered_fragments = [
        make_fragment(seq, key=key, size=size, units=units, step_us=step_us)
        for seq, (key, _, size, units) in enumerate(case)
    ]
    results = shed_all(offered_fragments, [has_room for _, has_room, _, _ in case])
    expected_seq, at_us = 0, START_US
    for item in results:
        first, last = (item.seq, item.seq) if isinstance(item, UnmuxedFragment) else (item.first_seq, item.last_seq)
        assert (first, item.start_us) == (expected_seq, at_us)
        if isinstance(item, ShedRange):
            shed = offered_fragments[first : last + 1]
            assert item.access_units == sum(len(one.units) for one in shed)
            assert item.bytes == sum(one.size for one in shed)
            assert item.end_us - item.start_us <= MAX_SHED_RANGE_US or first == last
        expected_seq, at_us = last + 1, item.end_us
    assert expected_seq == len(offered_fragments)


@given(fragments)
def test_backpressure_sheds_the_tail_of_a_gop(case: list[tuple[bool, bool, int, int]]):
    offered_fragments = [make_fragment(seq, key=key) for seq, (key, *_) in enumerate(case)]
    assert not undecodable_seqs(shed_all(offered_fragments, [has_room for _, has_room, _, _ in case]))


@pytest.mark.correctness
@given(fragments)
def test_pictures_that_depend_on_an_oversize_picture_are_shed_with_it(case: list[tuple[bool, bool, int, int]]):
    """A decoder needs the keyframe and every picture since."""
    offered_fragments = [make_fragment(seq, key=key, size=size) for seq, (key, _, size, _) in enumerate(case)]
    results = shed_all(offered_fragments, [True] * len(offered_fragments))
    assert not undecodable_seqs(results)
    assert all(item.size <= MAX_FRAGMENT_PAYLOAD_BYTES for item in results if isinstance(item, UnmuxedFragment))
    assert {item.cause for item in results if isinstance(item, ShedRange)} <= {"stream_error"}


def undecodable_seqs(results: Sequence[UnmuxedFragment | ShedRange]) -> list[int]:
    """The seq of fragments that were sent right after a shed range but do not start with a keyframe."""
    return [
        item.seq
        for before, item in itertools.pairwise(results)
        if isinstance(before, ShedRange) and isinstance(item, UnmuxedFragment) and not item.units[0].is_keyframe
    ]


@pytest.mark.correctness
def test_shedding_of_a_gop_is_reported_every_ten_seconds_until_the_next_keyframe():
    """A keyframe per minute, of which the first is too large."""
    offered_fragments = [
        make_fragment(seq, key=seq % 30 == 0, size=MAX_FRAGMENT_PAYLOAD_BYTES + 1 if seq == 0 else 100)
        for seq in range(33)
    ]
    *before, first, _, _ = shed_all(offered_fragments, [True] * len(offered_fragments))
    assert isinstance(first, UnmuxedFragment)
    assert first.seq == 30
    ranges = [item for item in before if isinstance(item, ShedRange)]
    assert [item.end_us - item.start_us for item in ranges] == [MAX_SHED_RANGE_US] * 6
    assert {item.cause for item in ranges} == {"stream_error"}


def test_a_shed_range_has_one_cause():
    large = MAX_FRAGMENT_PAYLOAD_BYTES + 1
    offered_fragments = [
        make_fragment(0, key=True, size=large),
        make_fragment(1, key=False),
        make_fragment(2, key=True),
        make_fragment(3, key=False),
    ]
    results = shed_all(
        [*offered_fragments, make_fragment(4, key=True, size=large), make_fragment(5, key=True)],
        [True, False, False, True, False, True],
    )
    reported = [(item.cause, item.first_seq, item.last_seq) for item in results if isinstance(item, ShedRange)]
    assert reported == [("stream_error", 0, 1), ("shed_backpressure", 2, 3), ("stream_error", 4, 4)]


def test_continuous_shedding_is_reported_every_ten_seconds():
    shedder = Shedder()
    reported_at = [
        seq
        for seq in range(40)
        if any(
            isinstance(item, ShedRange)
            for item in shedder.feed(make_fragment(seq, key=True, step_us=1_700_000), has_room=False)
        )
    ]
    gaps_us = [(later - earlier) * 1_700_000 for earlier, later in itertools.pairwise([0, *reported_at])]
    assert len(gaps_us) > 5
    assert max(gaps_us) <= MAX_SHED_RANGE_US


@pytest.mark.interpreted
def test_shed_fragments_are_freed():
    shedder = Shedder()
    one = make_fragment(0, key=True)
    assert shedder.feed(one, has_room=False) == []
    values = [getattr(shedder, name) for name in vars(shedder)]
    assert not any(isinstance(value, UnmuxedFragment | list) for value in values)


@pytest.mark.parametrize("has_room", [True, False])
def test_a_picture_larger_than_the_record_limit_is_shed(*, has_room: bool):
    large = make_fragment(0, key=True, size=MAX_FRAGMENT_PAYLOAD_BYTES + 1, units=1)
    (shed_range,) = shed_all([large], [has_room])
    assert isinstance(shed_range, ShedRange)
    assert (shed_range.cause, shed_range.access_units, shed_range.bytes) == (
        "stream_error",
        1,
        MAX_FRAGMENT_PAYLOAD_BYTES + 1,
    )
