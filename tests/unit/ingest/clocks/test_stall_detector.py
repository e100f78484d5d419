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


def test_a_process_that_stood_still_knows_it():
    clock = HandClock()
    watch = StallDetector(clock)
    began_us = clock.at_us
    for _ in range(20):
        clock.at_us += S // 2
        assert not watch.has_stalled_since(began_us)
    clock.at_us += 3 * S
    assert watch.has_stalled_since(began_us)
    stalled_us = clock.at_us
    clock.at_us += S // 2
    assert watch.has_stalled_since(stalled_us)
    assert not watch.has_stalled_since(clock.at_us)


@pytest.mark.correctness
def test_a_machine_that_was_paused_shows_in_the_wall_clock_alone():
    clock = TwoClocks()
    watch = StallDetector(clock)
    began_us = clock.at_us
    clock.at_us += S // 2
    clock.wall_us += 600 * S
    assert watch.has_stalled_since(began_us)
    assert not watch.has_stalled_since(clock.at_us + 1)


def test_a_wall_clock_that_is_set_back_is_no_standstill():
    clock = TwoClocks()
    watch = StallDetector(clock)
    clock.at_us += S // 2
    clock.wall_us -= 600 * S
    assert not watch.has_stalled_since(0)


class TwoClocks(HandClock):
    def __init__(self) -> None:
        super().__init__()
        self.wall_us = 0

    def now_us(self) -> int:
        return self.wall_us + self.at_us
