import itertools
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.recording.fragmenter import Fragmenter, FragmentLimits
from districam_ingest.units import AccessUnit, UnmuxedFragment
from unit.ingest.samples import unit

S = 1_000_000
START_US = 1_790_000_000 * S
CAMERA = "cam-001"
PHASE_US = zlib.crc32(CAMERA.encode()) * S % (10 * S)


def cut_epoch(
    units: Sequence[AccessUnit], limits: FragmentLimits | None = None, interval_us: int = 40_000
) -> list[UnmuxedFragment]:
    fragmenter = Fragmenter(CAMERA, limits or FragmentLimits())
    fragments = [fragment for one in units if (fragment := fragmenter.feed(one)) is not None]
    last = fragmenter.close(interval_us)
    return [*fragments, last] if last is not None else fragments


@st.composite
def epochs(draw: st.DrawFn) -> list[AccessUnit]:
    """An epoch's access units with any rate, GOP and size."""
    gop = draw(st.sampled_from([1, 3, 12, 50, 10_000]))
    steps = draw(st.lists(st.sampled_from([1, 5_000, 40_000, 500_000, 1_999_999]), min_size=1, max_size=200))
    large = draw(st.sets(st.integers(0, len(steps) - 1), max_size=8))
    units: list[AccessUnit] = []
    at_us = START_US + draw(st.integers(0, 20 * S))
    for index, step_us in enumerate(steps):
        size = draw(st.sampled_from([400, 1000, 1001])) if index in large else 20
        units.append(unit(at_us, key=index % gop == 0, size=size, dts=index * 10))
        at_us += step_us
    return units


SMALL = FragmentLimits(fragment_max_bytes=1000)


@given(epochs())
def test_all_access_units_come_out_in_contiguous_fragments(units: list[AccessUnit]):
    fragments = cut_epoch(units, SMALL)
    assert [one for fragment in fragments for one in fragment.units] == units
    assert [fragment.seq for fragment in fragments] == list(range(len(fragments)))
    for earlier, later in itertools.pairwise(fragments):
        assert earlier.end_us == later.start_us
        assert earlier.end_dts == earlier.units[-1].dts + earlier.last_duration_ticks == later.units[0].dts
    assert fragments[-1].end_us == units[-1].start_us + 40_000
    assert fragments[-1].last_duration_ticks == 3600


@given(epochs())
def test_both_fragments_at_a_segment_boundary_mark_it(units: list[AccessUnit]):
    fragments = cut_epoch(units, SMALL)
    assert fragments[0].starts_segment
    for earlier, later in itertools.pairwise(fragments):
        assert (earlier.ends == "segment") is later.starts_segment
    assert [fragment.ends for fragment in fragments].count("epoch") == 1
    assert fragments[-1].ends == "epoch"


@given(epochs())
def test_fragments_are_cut_at_keyframes_and_within_their_limits(units: list[AccessUnit]):
    for fragment in cut_epoch(units, SMALL):
        assert not any(one.is_keyframe for one in fragment.units[1:])
        assert fragment.units[-1].start_us - fragment.start_us < 2 * S
        assert fragment.size <= 1000 or len(fragment.units) == 1


@given(epochs())
def test_no_fragment_is_cut_without_a_reason(units: list[AccessUnit]):
    fragments = cut_epoch(units, SMALL)
    for earlier, later in itertools.pairwise(fragments):
        first = later.units[0]
        assert first.is_keyframe or first.start_us - earlier.start_us >= 2 * S or earlier.size + len(first.data) > 1000


@given(epochs())
def test_segments_start_at_the_first_keyframe_of_a_slot_or_after_a_minute(units: list[AccessUnit]):
    fragments = cut_epoch(units)
    segment_us, keyframe_us = fragments[0].start_us, fragments[0].start_us
    for fragment in fragments[1:]:
        is_first_of_slot = fragment.units[0].is_keyframe and (fragment.start_us - PHASE_US) // (10 * S) != (
            keyframe_us - PHASE_US
        ) // (10 * S)
        assert fragment.starts_segment is (is_first_of_slot or fragment.start_us - segment_us >= 60 * S)
        segment_us = fragment.start_us if fragment.starts_segment else segment_us
        keyframe_us = fragment.start_us if fragment.units[0].is_keyframe else keyframe_us


def test_steady_cameras_have_ten_second_segments_at_different_phases():
    for camera in ("cam-001", "cam-002"):
        fragmenter = Fragmenter(camera, FragmentLimits())
        fragments = [fragmenter.feed(unit(START_US + n * 40_000, key=n % 50 == 0)) for n in range(2000)]
        starts = [fragment.start_us for fragment in fragments if fragment and fragment.starts_segment]
        assert {later - earlier for earlier, later in itertools.pairwise(starts[1:])} == {10 * S}
        assert (starts[1] - zlib.crc32(camera.encode()) * S % (10 * S)) % (10 * S) < 2 * S


def test_a_camera_with_a_single_keyframe_is_cut_every_minute():
    fragments = cut_epoch([unit(START_US + n * 500_000, key=n == 0) for n in range(400)])
    assert [fragment.seq for fragment in fragments if fragment.starts_segment] == [0, 30, 60, 90]
    assert [fragment.units[0].is_keyframe for fragment in fragments].count(True) == 1


def test_packets_lost_before_a_boundary_are_counted_in_both_fragments():
    units = [unit(START_US + n * 500_000, key=n % 4 == 0) for n in range(12)]
    units[4] = replace(units[4], lost_packets=3)
    units[9] = replace(units[9], lost_packets=1)
    assert [fragment.lost_packets for fragment in cut_epoch(units)] == [3, 3, 1]


def test_damaged_pictures_are_counted_in_their_own_fragment():
    units = [unit(n * 200_000, key=n % 4 == 0) for n in range(12)]
    units[3] = replace(units[3], is_damaged=True)
    units[8] = replace(units[8], is_damaged=True)
    units[9] = replace(units[9], is_damaged=True)
    assert [fragment.damaged for fragment in cut_epoch(units)] == [1, 0, 2]


@pytest.mark.parametrize("interval_us", [1, 40_000])
def test_an_epoch_without_access_units_has_no_fragment(interval_us: int):
    fragmenter = Fragmenter(CAMERA, FragmentLimits())
    assert fragmenter.close(interval_us) is None
    assert fragmenter.last_seq == -1
