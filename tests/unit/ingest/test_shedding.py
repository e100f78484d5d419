import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.core.fragmenter import Cut
from districam_ingest.core.shedding import TELL_EVERY_US, UNIT_MAX_BYTES, Shedder, ShedRange
from unit.ingest.samples import unit

S = 1_000_000
START_US = 1_790_000_000 * S


def cut(seq: int, *, key: bool, step_us: int = 2 * S, size: int = 100, units: int = 2) -> Cut:
    start_us = START_US + seq * step_us
    return Cut(
        seq=seq,
        units=tuple(
            unit(start_us + n * 1000, key=key and n == 0, size=size if n == 0 else 10) for n in range(units)
        ),
        duration_us=step_us,
        last_ticks=1,
        starts_segment=False,
        ends=None,
    )


def offered(cuts: Sequence[Cut], has_room: Sequence[bool]) -> list[Cut | ShedRange]:
    shedder = Shedder()
    out: list[Cut | ShedRange] = []
    for one, room in zip(cuts, has_room, strict=True):
        out += shedder.offer(one, has_room=room)
    return [*out, *shedder.tell()]


fragments = st.lists(
    st.tuples(
        st.booleans(), st.booleans(), st.sampled_from([1, 1, 1, 1, UNIT_MAX_BYTES + 1]), st.integers(1, 3)
    ),
    min_size=1,
    max_size=40,
)


@given(fragments, st.sampled_from([300_000, 2 * S]))
def test_every_access_unit_is_sent_or_in_one_told_range(
    case: list[tuple[bool, bool, int, int]], step_us: int
):
    cuts = [
        cut(seq, key=key, size=size, units=units, step_us=step_us)
        for seq, (key, _, size, units) in enumerate(case)
    ]
    out = offered(cuts, [room for _, room, _, _ in case])
    expected_seq, at_us = 0, START_US
    for item in out:
        first, last = (item.seq, item.seq) if isinstance(item, Cut) else (item.first_seq, item.last_seq)
        assert (first, item.start_us) == (expected_seq, at_us)
        if isinstance(item, ShedRange):
            gone = cuts[first : last + 1]
            assert item.access_units == sum(len(one.units) for one in gone)
            assert item.bytes == sum(one.size for one in gone)
            assert item.end_us - item.start_us <= TELL_EVERY_US or first == last
        expected_seq, at_us = last + 1, item.end_us
    assert expected_seq == len(cuts)


@given(fragments)
def test_what_is_shed_for_want_of_room_is_the_tail_of_a_gop(case: list[tuple[bool, bool, int, int]]):
    cuts = [cut(seq, key=key) for seq, (key, *_) in enumerate(case)]
    out = offered(cuts, [room for _, room, _, _ in case])
    is_after_shed = False
    for item in out:
        assert not (is_after_shed and isinstance(item, Cut) and not item.units[0].is_keyframe)
        is_after_shed = isinstance(item, ShedRange)


def test_a_shed_that_goes_on_is_told_every_ten_seconds():
    shedder = Shedder()
    told_at = [
        seq
        for seq in range(40)
        if any(
            isinstance(item, ShedRange)
            for item in shedder.offer(cut(seq, key=True, step_us=1_700_000), has_room=False)
        )
    ]
    gaps_us = [(later - earlier) * 1_700_000 for earlier, later in itertools.pairwise([0, *told_at])]
    assert len(gaps_us) > 5
    assert max(gaps_us) <= TELL_EVERY_US


@pytest.mark.interpreted
def test_what_is_shed_does_not_stay_in_memory():
    shedder = Shedder()
    one = cut(0, key=True)
    assert shedder.offer(one, has_room=False) == []
    held = [getattr(shedder, name) for name in vars(shedder)]
    assert not any(isinstance(value, Cut | list) for value in held)


@pytest.mark.parametrize("room", [True, False])
def test_a_picture_over_the_records_limit_is_shed_alone(*, room: bool):
    large = cut(0, key=True, size=UNIT_MAX_BYTES + 1, units=1)
    (told,) = offered([large], [room])
    assert isinstance(told, ShedRange)
    assert (told.cause, told.access_units, told.bytes) == ("stream_error", 1, UNIT_MAX_BYTES + 1)
