from districam_ingest.loop_watch import LoopWatch

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
    watch = LoopWatch(clock)
    began_us = clock.at_us
    for _ in range(20):
        clock.at_us += S // 2
        assert not watch.stalled_since(began_us)
    clock.at_us += 3 * S
    assert watch.stalled_since(began_us)
    stalled_us = clock.at_us
    clock.at_us += S // 2
    assert watch.stalled_since(stalled_us)
    assert not watch.stalled_since(clock.at_us)
