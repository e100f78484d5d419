from dataclasses import replace

from districam_ingest.recording.profiler import Profiler, ProfileWindow
from unit.ingest.samples import unit

S = 1_000_000
START_US = 1_790_000_000 * S


def profile_stream(
    *,
    fps: int,
    gop: int,
    seconds: int,
    b_frames: bool = False,
    ppm: int | None = 0,
    offset_us: int = 500_000,
    lost_at: int | None = None,
) -> list[ProfileWindow]:
    """Profiles a camera whose clock is ahead by `offset_us` and fast by `ppm`; None: no sender reports."""
    profiler = Profiler()
    windows: list[ProfileWindow] = []
    for n in range(fps * seconds):
        dts, start_us = n * 90_000 // fps, START_US + n * S // fps
        one = unit(start_us, key=n % gop == 0, dts=dts, pts=dts + (3600 if b_frames and n % 3 else 0))
        if ppm is not None:
            one = replace(one, camera_us=start_us + offset_us + n * ppm // fps)
        if n == lost_at:
            one = replace(one, lost_packets=3)
        window = profiler.feed(one)
        if window is not None:
            windows.append(window)
    return windows


def test_a_good_camera_is_measured_once_per_window_without_defects():
    windows = profile_stream(fps=25, gop=50, seconds=35)
    assert len(windows) == 3
    assert all((one.fps, one.last_gop_s, one.has_b_frames, one.defects) == (25, 2, False, ()) for one in windows)
    assert {one.bits_per_s for one in windows} == {25 * 100 * 8}
    assert {(one.has_sender_reports, one.clock_offset_us, one.lost_packets) for one in windows} == {(True, 500_000, 0)}
    assert {one.clock_drift_ppm for one in windows} == {None}


def test_b_frames_are_a_defect():
    (windows,) = profile_stream(fps=10, gop=20, seconds=11, b_frames=True)
    assert windows.has_b_frames
    assert any("B-frames" in defect and "disable" in defect for defect in windows.defects)


def test_a_long_gop_is_a_defect_even_before_the_second_keyframe():
    first, second = profile_stream(fps=5, gop=10_000, seconds=25)
    assert (first.last_gop_s, first.defects) == (None, ())
    assert second.longest_gop_s is None
    assert second.defects[0].startswith("GOP of 20 s or more")
    assert "set the camera's I-frame interval to 2 s" in second.defects[0]
    *_, last = profile_stream(fps=5, gop=75, seconds=45)
    assert last.longest_gop_s == 15
    assert last.defects[0].startswith("GOP of 15 s or more")


def test_varying_gop_length_is_reported_as_a_smart_codec():
    profiler, windows = Profiler(), list[ProfileWindow]()
    keys = {0, 10, 20, 70, 80}  # a keyframe per second, then none for five
    for n in range(110):
        window = profiler.feed(unit(START_US + n * S // 10, key=n in keys))
        windows += [window] if window else []
    assert any("smart codec" in defect for defect in windows[0].defects)
    assert (windows[0].last_gop_s, windows[0].longest_gop_s) == (1, 5)


def test_packet_loss_is_counted_per_window_and_remains_a_defect():
    first, second, third = profile_stream(fps=10, gop=20, seconds=31, lost_at=150)
    assert [one.lost_packets for one in (first, second, third)] == [0, 3, 0]
    assert first.defects == ()
    assert ["packet loss" in one.defects[0] for one in (second, third)] == [True, True]


def test_missing_sender_reports_are_a_defect_after_the_waiting_time():
    first, second = profile_stream(fps=10, gop=20, seconds=21, ppm=None)
    assert (first.has_sender_reports, first.defects) == (None, ())
    assert second.has_sender_reports is False
    assert (second.clock_offset_us, second.clock_drift_ppm) == (None, None)
    assert "RTCP" in second.defects[0]


def test_a_wrong_camera_clock_is_a_defect_and_its_drift_is_measured():
    *_, last = profile_stream(fps=10, gop=20, seconds=75, ppm=120, offset_us=-6 * S)
    assert last.clock_drift_ppm == 120
    assert last.clock_offset_us is not None
    assert abs(last.clock_offset_us + 6 * S) < 10_000
    assert "time server" in last.defects[0]
