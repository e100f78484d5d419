"""Placement of audio on the video's clock: each unit once, no hole, in sync, whatever arrives late or never."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.mp4.writer import AudioSample
from districam_ingest.codec.aac import parse_audio_specific_config
from districam_ingest.recording.audio_sync import MAX_AUDIO_DELAY_US, MAX_PENDING_UNITS, AudioSync, MinDelayFilter
from districam_ingest.units import AudioUnit, Picture

PARAMETERS = parse_audio_specific_config(bytes.fromhex("1408"), 16_000)
S, TICKS, RATE, UNIT = 1_000_000, 90_000, 16_000, 1024
SHIFT = 1_000 * TICKS
"""Offset from the pictures' ticks to the epoch's media clock."""
CAMERA_US = 77 * S


def pictures(track: AudioSync, seconds: float, *, delay_us: int = 10_000, with_camera_time: bool = False) -> None:
    """Feeds a picture per 40 ms from tick 0 on, each arriving `delay_us` after its capture."""
    for n in range(round(seconds * 25)):
        camera_us = CAMERA_US + n * 40_000 if with_camera_time else None
        track.feed_picture(Picture((b"\x65",), n * 3600, n * 40_000 + delay_us, camera_us))


def audio_unit(n: int, *, delay_us: int = 20_000, origin: int = 5_000, at: int | None = None) -> AudioUnit:
    """Unit `n` of a steady track that starts with the pictures; its ticks have their own origin."""
    pts = n * UNIT if at is None else at
    return AudioUnit(b"%d" % n, origin + pts, pts * S // RATE + delay_us)


def with_camera_time(one: AudioUnit, offset_us: int = 0, origin: int = 5_000) -> AudioUnit:
    camera_us = CAMERA_US + (one.pts - origin) * S // RATE + offset_us
    return AudioUnit(one.data, one.pts, one.captured_us, camera_us)


def drain_audio(track: AudioSync, from_s: float, to_s: float, **options: bool) -> tuple[AudioSample, ...]:
    """Drains the audio up to `to_s` of an epoch whose first picture is tick 0."""
    assert from_s >= 0
    return track.drain(SHIFT, SHIFT + round(to_s * TICKS), SHIFT, max_bytes=1 << 20, **options)


def at_s(unit: AudioSample) -> float:
    return unit.dts / RATE - 1_000


def create_synced(count: int, **options: int) -> AudioSync:
    track = AudioSync(PARAMETERS)
    pictures(track, count * UNIT / RATE)
    track.feed_audio(audio_unit(n, **options) for n in range(count))
    return track


def test_each_fragment_gets_the_audio_that_starts_within_it():
    track = create_synced(40, delay_us=10_000)
    first, second = drain_audio(track, 0, 1), drain_audio(track, 1, 2)
    assert [unit.data for unit in (*first, *second)] == [b"%d" % n for n in range(32)]
    assert [unit.dts - 1_000 * RATE for unit in first] == [n * UNIT for n in range(16)]
    assert {unit.duration for unit in (*first, *second)} == {UNIT}


def test_without_sender_reports_arrivals_relate_audio_to_video():
    """Audio arrives 20 ms after its capture, video 10 ms: without reports audio is placed 10 ms late."""
    units = drain_audio(create_synced(40), 0, 1)
    assert at_s(units[0]) == pytest.approx(0.010, abs=0.0001)


def test_only_the_least_delayed_arrival_counts():
    track = AudioSync(PARAMETERS)
    pictures(track, 2)
    track.feed_audio(audio_unit(n, delay_us=900_000 if n % 5 else 10_000) for n in range(30))
    assert at_s(drain_audio(track, 0, 1)[0]) == pytest.approx(0)


@pytest.mark.parametrize(("offset_us", "position_s"), [(300_000, 0.300), (1_900_000, 1.9), (2_500_000, 0.010)])
def test_sender_reports_of_both_override_arrivals_unless_implausible(offset_us: int, position_s: float):
    track = AudioSync(PARAMETERS)
    pictures(track, 3, with_camera_time=True)
    track.feed_audio(with_camera_time(audio_unit(n), offset_us) for n in range(45))
    found = [unit for unit in drain_audio(track, 0, 2.9) if unit.data != PARAMETERS.silent_unit]
    assert found[0].data == b"0"
    assert at_s(found[0]) == pytest.approx(position_s, abs=0.0001)


def test_sender_reports_of_one_track_alone_are_ignored():
    track = AudioSync(PARAMETERS)
    pictures(track, 2)
    track.feed_audio(with_camera_time(audio_unit(n), 300_000) for n in range(20))
    assert at_s(drain_audio(track, 0, 1)[0]) == pytest.approx(0.010, abs=0.0001)


@pytest.mark.parametrize("offset_us", [-200_000, 200_000])
def test_a_later_offset_is_corrected_gradually_without_a_hole(offset_us: int):
    track = AudioSync(PARAMETERS)
    pictures(track, 40, with_camera_time=True)
    track.feed_audio(audio_unit(n) for n in range(8))
    track.feed_audio(with_camera_time(audio_unit(n), 10_000 + offset_us) for n in range(8, 600))
    units = [unit for to_s in range(1, 37) for unit in drain_audio(track, to_s - 1, to_s)]
    steps = [later.dts - one.dts for one, later in pairwise(units)]
    assert {abs(step - UNIT) for step in steps} <= {0, UNIT // 64}
    n = int(units[-1].data)
    assert at_s(units[-1]) == pytest.approx(n * UNIT / RATE + offset_us / S + 0.010, abs=0.011)


def test_a_gap_is_filled_with_silence_and_audio_after_it_is_in_sync():
    track = AudioSync(PARAMETERS)
    pictures(track, 20, with_camera_time=True)
    track.feed_audio(with_camera_time(audio_unit(n)) for n in range(20))
    track.feed_audio(with_camera_time(audio_unit(n)) for n in range(60, 100))
    units = drain_audio(track, 0, 5)
    silent = [n for n, unit in enumerate(units) if unit.data == PARAMETERS.silent_unit]
    assert silent == list(range(20, 60))
    assert at_s(units[60]) == pytest.approx(60 * UNIT / RATE)


def test_repeated_audio_is_dropped():
    track = create_synced(20)
    track.feed_audio([audio_unit(19), audio_unit(18), audio_unit(5)])
    assert [unit.data for unit in drain_audio(track, 0, 1.9)][:20] == [b"%d" % n for n in range(20)]
    assert track.dropped_units == 3


def test_audio_after_a_timestamp_reset_continues_after_what_was_placed():
    track = AudioSync(PARAMETERS)
    pictures(track, 20)
    track.feed_audio(audio_unit(n) for n in range(30))
    track.feed_audio(AudioUnit(b"x%d" % n, n * UNIT, (30 + n) * UNIT * S // RATE + 20_000) for n in range(20))
    units = drain_audio(track, 0, 3)
    assert [unit.data for unit in units[30:46]] == [b"x%d" % n for n in range(16)]
    assert all(later.dts - one.dts >= UNIT // 2 for one, later in pairwise(units))


def test_late_audio_goes_into_a_later_fragment_at_its_own_time():
    track = AudioSync(PARAMETERS)
    pictures(track, 3)
    track.feed_audio(audio_unit(n) for n in range(10))
    assert len(drain_audio(track, 0, 1)) == 10
    track.feed_audio(audio_unit(n) for n in range(10, 40))
    late = drain_audio(track, 1, 2)
    assert late[0].data == b"10"
    assert at_s(late[0]) == pytest.approx(0.650)


def test_missing_audio_becomes_silence_after_the_deadline_and_is_dropped_if_it_arrives():
    track = AudioSync(PARAMETERS)
    pictures(track, 10)
    assert drain_audio(track, 0, 2) == ()
    silent = drain_audio(track, 2, 4)
    assert {unit.data for unit in silent} == {PARAMETERS.silent_unit}
    assert silent[0].dts == 1_000 * RATE
    assert 0 <= 4 - MAX_AUDIO_DELAY_US / S - (silent[-1].dts + UNIT - 1_000 * RATE) / RATE < UNIT / RATE
    track.feed_audio(audio_unit(n) for n in range(10))
    assert {unit.data for unit in drain_audio(track, 4, 4.1)} == {PARAMETERS.silent_unit}
    assert track.dropped_units == 10


def test_at_the_end_silence_fills_up_to_the_last_picture():
    track = AudioSync(PARAMETERS)
    pictures(track, 1)
    units = drain_audio(track, 0, 1, is_last=True)
    assert len(units) == RATE // UNIT
    assert units[0].dts == 1_000 * RATE


def test_audio_after_the_end_belongs_to_the_next_epoch():
    track = create_synced(40)
    drain_audio(track, 0, 1, is_last=True)
    track.reset()
    pictures(track, 2.5)
    units = track.drain(SHIFT + TICKS, SHIFT + 2 * TICKS, SHIFT, max_bytes=1 << 20)
    assert units[0].data == b"16"


def test_audio_before_the_first_picture_is_dropped():
    track = AudioSync(PARAMETERS)
    pictures(track, 2, with_camera_time=True)
    track.feed_audio(with_camera_time(audio_unit(n), -500_000) for n in range(20))
    assert drain_audio(track, 0, 1)[0].data == b"8"
    assert track.dropped_units == 8


def test_a_full_fragment_leaves_its_audio_to_the_next():
    track = create_synced(40)
    assert track.drain(SHIFT, SHIFT + TICKS, SHIFT, max_bytes=0) == ()
    assert drain_audio(track, 1, 2)[0].data == b"0"


def test_pending_audio_is_bounded():
    track = AudioSync(PARAMETERS)
    track.feed_audio(audio_unit(n) for n in range(MAX_PENDING_UNITS + 5))
    assert track.dropped_units == 5


def test_minimum_delays_expire_after_two_windows():
    delays = MinDelayFilter()
    assert delays.min_us is None
    for second in range(40):
        delays.feed(5 if second == 3 else 50, second * S)
        assert delays.min_us == (5 if 3 <= second < 20 else 50)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Audio with losses and delays; fragments of any length."""

    lost: frozenset[int] = frozenset()
    delays_us: list[int] = field(default_factory=list[int])
    cuts_s: list[float] = field(default_factory=list[float])


SCENARIOS = st.builds(
    Scenario,
    lost=st.frozensets(st.integers(0, 120), max_size=100),
    delays_us=st.lists(st.integers(0, 6 * S), min_size=1, max_size=10),
    cuts_s=st.lists(st.floats(0.04, 2), min_size=1, max_size=12),
)


@given(SCENARIOS)
def test_each_unit_is_stored_at_most_once_and_the_track_has_no_hole(scenario: Scenario):
    track, placed = AudioSync(PARAMETERS), list[AudioSample]()
    pending = sorted(
        (audio_unit(n, delay_us=10_000 + scenario.delays_us[n % len(scenario.delays_us)]) for n in range(121)),
        key=lambda one: one.pts,
    )
    pending = [one for n, one in enumerate(pending) if n not in scenario.lost]
    fed_count, to_s = 0, 0.0
    for step_s in scenario.cuts_s:
        for n in range(round(to_s * 25), round((to_s + step_s) * 25) + 1):
            track.feed_picture(Picture((b"\x65",), n * 3600, n * 40_000 + 10_000))
        to_s += step_s
        count = next((i for i, one in enumerate(pending) if one.captured_us > to_s * S), len(pending))
        track.feed_audio(pending[fed_count : max(fed_count, count)])
        fed_count = max(fed_count, count)
        found = drain_audio(track, 0, to_s, is_last=step_s == scenario.cuts_s[-1] and to_s == sum(scenario.cuts_s))
        assert all(at_s(unit) < to_s + 0.001 for unit in found)
        assert all(unit.duration > 0 for unit in found)
        placed += found
    audible = [unit.data for unit in placed if unit.data != PARAMETERS.silent_unit]
    assert len(audible) == len(set(audible))
    assert [int(data) for data in audible] == sorted(int(data) for data in audible)
    for one, later in pairwise(placed):
        assert -UNIT // 2 <= later.dts - (one.dts + one.duration) < UNIT
