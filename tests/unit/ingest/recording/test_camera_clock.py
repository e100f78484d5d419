"""The camera's own clock: told at first and when it steps, not while it drifts."""

from districam_ingest.recording.camera_clock import CameraClock, OffsetChange


def told(clock: CameraClock, offset_us: int) -> OffsetChange | None:
    return clock.feed(offset_us) if clock.needs_report(offset_us) else None


def test_the_first_offset_is_reported() -> None:
    assert told(CameraClock(), 37_000_000) == OffsetChange(37_000_000, 0)


def test_drift_is_reported_when_it_exceeds_a_second() -> None:
    clock = CameraClock()
    told(clock, 0)
    seen = [told(clock, offset_us) for offset_us in range(0, 1_100_001, 100_000)]
    assert seen == [None] * 11 + [OffsetChange(1_100_000, 1_100_000)]


def test_a_backward_step_is_reported() -> None:
    clock = CameraClock()
    told(clock, 5_000_000)
    assert told(clock, -3_595_000_000) == OffsetChange(-3_595_000_000, -3_600_000_000)
