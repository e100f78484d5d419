from districam_ingest.core.profiler import Profiler, Seen
from unit.ingest.samples import unit

S = 1_000_000
START_US = 1_790_000_000 * S


def seen(*, fps: int, gop: int, seconds: int, b_frames: bool = False) -> list[Seen]:
    profiler = Profiler()
    found: list[Seen] = []
    for n in range(fps * seconds):
        dts = n * 90_000 // fps
        one = unit(
            START_US + n * S // fps, key=n % gop == 0, dts=dts, pts=dts + (3600 if b_frames and n % 3 else 0)
        )
        told = profiler.push(one)
        if told is not None:
            found.append(told)
    return found


def test_a_good_camera_is_told_its_rate_once_a_window_and_no_defect():
    found = seen(fps=25, gop=50, seconds=35)
    assert len(found) == 3
    assert all((one.fps, one.gop_s, one.b_frames, one.defects) == (25, 2, False, ()) for one in found)


def test_reordering_is_a_defect():
    (found,) = seen(fps=10, gop=20, seconds=11, b_frames=True)
    assert found.b_frames
    assert any("B-frames" in defect for defect in found.defects)


def test_a_long_gop_is_a_defect_even_before_the_second_keyframe():
    first, second = seen(fps=5, gop=10_000, seconds=25)
    assert (first.gop_s, first.defects) == (None, ())
    assert second.gop_s is None
    assert "every 20 s or more" in second.defects[0]
    *_, last = seen(fps=5, gop=75, seconds=45)
    assert last.gop_s == 15
    assert "every 15 s or more" in last.defects[0]
