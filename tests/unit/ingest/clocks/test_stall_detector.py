import pytest

from districam_ingest.clocks.stall_detector import StallDetector

S = 1_000_000


class HandClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.at_us = 100 * S

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us


def test_a_stall_of_the_process_is_detected():
    clock = HandClock()
    detector = StallDetector(clock)
    began_us = clock.at_us
    for _ in range(20):
        clock.at_us += S // 2
        assert not detector.has_stalled_since(began_us)
    clock.at_us += 3 * S
    assert detector.has_stalled_since(began_us)
    stalled_us = clock.at_us
    clock.at_us += S // 2
    assert detector.has_stalled_since(stalled_us)
    assert not detector.has_stalled_since(clock.at_us)


@pytest.mark.correctness
def test_a_pause_of_the_machine_is_detected_by_the_wall_clock():
    clock = TwoClocks()
    detector = StallDetector(clock)
    began_us = clock.at_us
    clock.at_us += S // 2
    clock.wall_us += 600 * S
    assert detector.has_stalled_since(began_us)
    assert not detector.has_stalled_since(clock.at_us + 1)


def test_setting_the_wall_clock_back_is_not_a_stall():
    clock = TwoClocks()
    detector = StallDetector(clock)
    clock.at_us += S // 2
    clock.wall_us -= 600 * S
    assert not detector.has_stalled_since(0)


class TwoClocks(HandClock):
    def __init__(self) -> None:
        super().__init__()
        self.wall_us = 0

    def now_us(self) -> int:
        return self.wall_us + self.at_us
