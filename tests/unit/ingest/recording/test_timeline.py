import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.recording.timeline import ANCHOR_WINDOW_US, MAX_DRIFT_PPM, Timeline
from districam_ingest.units import AccessUnit, Picture
from support.examples import examples_percent
from unit.ingest.samples import SLICE

S = 1_000_000
OFFSET_US = 1_790_000_000 * S
FRAME_US = 40_000


def picture(pts: int, arrival_us: int) -> Picture:
    return Picture((SLICE,), pts, arrival_us, camera_us=arrival_us + 7, lost_packets=1)


def feed_all(pictures: Sequence[Picture]) -> list[AccessUnit]:
    timeline = Timeline(OFFSET_US)
    out: list[AccessUnit] = []
    for one in pictures:
        out += timeline.feed(one, one.pts, is_keyframe=False)
    return [*out, *timeline.flush()]


def camera_pictures(seconds: int, *, ppm: float = 0, jitter_us: int = 0, frame_us: int = FRAME_US) -> list[Picture]:
    """Pictures of a camera whose clock is fast by `ppm`; they arrive up to `jitter_us` late."""
    rng = random.Random(1)
    return [
        picture(
            1_234_567 + round(n * frame_us * 0.09 * (1 + ppm / 1e6)),
            5 * S + n * frame_us + round(rng.random() ** 2 * jitter_us),
        )
        for n in range(seconds * S // frame_us)
    ]


@st.composite
def random_streams(draw: st.DrawFn) -> list[Picture]:
    ticks, arrival_us = draw(st.integers(0, 1 << 40)), draw(st.integers(0, 10 * S))
    out: list[Picture] = []
    for step, delay_us in draw(
        st.lists(
            st.tuples(st.sampled_from([1, 2, 90, 3600, 9000, 179_000]), st.sampled_from([0, 0, 1, 500, 10_000_000])),
            min_size=1,
            max_size=150,
        )
    ):
        ticks += step
        arrival_us += step * 100 // 9
        out.append(picture(ticks, arrival_us + delay_us))
    return out


@given(random_streams())
def test_start_times_increase_and_every_picture_is_returned_once_in_order(pictures: list[Picture]):
    units = feed_all(pictures)
    assert [unit.dts - units[0].dts for unit in units] == [one.pts - pictures[0].pts for one in pictures]
    assert all(later.start_us > earlier.start_us for earlier, later in itertools.pairwise(units))


@given(random_streams())
def test_drift_correction_never_exceeds_its_limit(pictures: list[Picture]):
    units = feed_all(pictures)
    for earlier, later in itertools.pairwise(units):
        media_us = (later.dts - earlier.dts) * 100 / 9
        assert abs(later.start_us - earlier.start_us - media_us) <= media_us * MAX_DRIFT_PPM / 1e6 + 2


@given(random_streams())
def test_the_epoch_is_anchored_on_the_least_delayed_arrival_of_its_first_second(pictures: list[Picture]):
    until = next(
        (n for n, one in enumerate(pictures) if one.arrival_us - pictures[0].arrival_us >= ANCHOR_WINDOW_US),
        len(pictures) - 1,
    )
    delayed = pictures[: until + 1]
    unit = feed_all(pictures)[0]
    media_us = [(one.pts - pictures[0].pts) * 100 / 9 for one in delayed]
    min_origin_us = min(one.arrival_us - at for one, at in zip(delayed, media_us, strict=True))
    assert abs(unit.start_us - OFFSET_US - min_origin_us) <= 2
    assert unit.dts == (unit.start_us * 9 + 50) // 100


def test_pictures_are_held_for_the_first_second_and_then_returned_immediately():
    timeline = Timeline(OFFSET_US)
    pictures = camera_pictures(3)
    returned = [timeline.feed(one, one.pts, is_keyframe=n == 0) for n, one in enumerate(pictures)]
    assert [len(units) for units in returned[:27]] == [0] * 25 + [26, 1]
    assert timeline.is_anchored
    assert timeline.flush() == []
    first = returned[25][0]
    assert (first.is_keyframe, first.lost_packets, first.camera_us) == (True, 1, pictures[0].arrival_us + 7)
    assert first.data == b"\0\0\0\4" + SLICE
    assert first.dts == pictures[0].pts + timeline.shift_ticks


def test_an_epoch_shorter_than_a_second_is_flushed_at_its_end():
    pictures = camera_pictures(3)[:5]
    units = feed_all(pictures)
    assert [unit.start_us for unit in units] == [OFFSET_US + one.arrival_us for one in pictures]
    assert Timeline(OFFSET_US).flush() == []
    assert not Timeline(OFFSET_US).is_anchored


def test_a_connect_burst_does_not_shift_the_anchor():
    """Two seconds of buffered pictures arrive at once, then live ones."""
    undelayed = camera_pictures(20)
    burst = [picture(one.pts, max(one.arrival_us, undelayed[50].arrival_us)) for one in undelayed]
    for unit, one in zip(feed_all(burst), undelayed, strict=True):
        assert abs(unit.start_us - OFFSET_US - one.arrival_us) <= 2


def test_a_network_stall_hardly_changes_start_times():
    """The network stalls for nine seconds: pictures keep their capture times."""
    undelayed = camera_pictures(60)
    delayed = [
        picture(one.pts, max(one.arrival_us, undelayed[950].arrival_us)) if 700 <= n < 950 else one
        for n, one in enumerate(undelayed)
    ]
    for unit, one in zip(feed_all(delayed), undelayed, strict=True):
        assert abs(unit.start_us - OFFSET_US - one.arrival_us) <= 20_000


def test_a_drifting_camera_clock_is_followed_for_an_hour():
    for ppm in (-200, 200):
        pictures = camera_pictures(3600, ppm=ppm, jitter_us=20_000, frame_us=5 * FRAME_US)
        worst = 0
        for n, unit in enumerate(feed_all(pictures)):
            worst = max(worst, abs(unit.start_us - OFFSET_US - 5 * S - n * 5 * FRAME_US))
        assert worst < 10_000


def test_an_encoder_pause_without_a_timestamp_jump_is_detected():
    """Otherwise its footage would be misplaced by five seconds for hours."""
    timeline = Timeline(OFFSET_US)
    delayed = [
        replace(one, arrival_us=one.arrival_us + (5 * S if n > 250 else 0)) for n, one in enumerate(camera_pictures(40))
    ]
    units: list[AccessUnit] = []
    for n, one in enumerate(delayed):
        units += timeline.feed(one, one.pts, is_keyframe=False)
        if timeline.deviation_us is not None:
            assert timeline.deviation_us == 5 * S
            assert n == 251 + 250
            break
    assert [unit.camera_us for unit in units] == [one.camera_us for one in delayed[:251]], "none after the pause"
    assert timeline.discard() == delayed[251:502]
    assert timeline.flush() == []


@examples_percent(40)
@given(st.integers(50, 1200), st.integers(2, 8), st.floats(2, 20))
def test_a_network_that_stalls_and_catches_up_changes_no_start_time(first: int, stall_s: int, speed: float):
    """Delayed pictures arrive at `speed` times the camera's rate, and are held until one is on time."""
    undelayed = camera_pictures(60)
    resume_us = undelayed[first].arrival_us + stall_s * S
    delayed = [
        replace(one, arrival_us=max(one.arrival_us, resume_us + round((n - first) * FRAME_US / speed)))
        if n >= first
        else one
        for n, one in enumerate(undelayed)
    ]
    timeline = Timeline(OFFSET_US)
    units: list[AccessUnit] = []
    for one in delayed:
        units += timeline.feed(one, one.pts, is_keyframe=False)
        assert timeline.deviation_us is None
    assert len(units) == len(undelayed)
    for unit, one in zip(units, undelayed, strict=True):
        assert abs(unit.start_us - OFFSET_US - one.arrival_us) <= 6_000  # 500 ppm of a window


@examples_percent(30)
@given(st.integers(50, 300), st.integers(2, 25))
def test_a_socket_buffer_read_at_once_after_a_stall_changes_no_start_time(first: int, stall_s: int):
    """After a stall of this process or of the network whole windows arrive late, with correct timestamps."""
    undelayed = camera_pictures(50)
    resume_us = undelayed[first].arrival_us + stall_s * S
    timeline = Timeline(OFFSET_US)
    units: list[AccessUnit] = []
    for n, one in enumerate(undelayed):
        delayed = replace(one, arrival_us=max(one.arrival_us, resume_us)) if n >= first else one
        units += timeline.feed(delayed, delayed.pts, is_keyframe=False)
        assert timeline.deviation_us is None
    for unit, one in zip(units, undelayed, strict=True):
        assert abs(unit.start_us - OFFSET_US - one.arrival_us) <= 6_000


def test_neither_network_delay_nor_drift_is_a_deviation():
    timeline = Timeline(OFFSET_US)
    for n, one in enumerate(camera_pictures(120, ppm=150, jitter_us=300_000)):
        delayed = replace(one, arrival_us=one.arrival_us + (4 * S if 250 < n < 400 else 0))
        timeline.feed(delayed, delayed.pts, is_keyframe=False)
        assert timeline.deviation_us is None
