"""The camera clock's offset is reported at first and when it steps, not while it drifts."""

from districam_ingest.recording.camera_clock import CameraClock, OffsetChange


def report(clock: CameraClock, offset_us: int) -> OffsetChange | None:
    return clock.feed(offset_us) if clock.needs_report(offset_us) else None


def test_the_first_offset_is_reported() -> None:
    assert report(CameraClock(), 37_000_000) == OffsetChange(37_000_000, 0)


def test_drift_is_reported_when_it_exceeds_a_second() -> None:
    clock = CameraClock()
    report(clock, 0)
    reports = [report(clock, offset_us) for offset_us in range(0, 1_100_001, 100_000)]
    assert reports == [None] * 11 + [OffsetChange(1_100_000, 1_100_000)]


def test_a_backward_step_is_reported() -> None:
    clock = CameraClock()
    report(clock, 5_000_000)
    assert report(clock, -3_595_000_000) == OffsetChange(-3_595_000_000, -3_600_000_000)
