import time

import pytest

from districam_common.runtime import clock
from districam_common.runtime.clock import SystemClock


@pytest.mark.correctness
def test_time_passes_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch):
    """Linux's CLOCK_MONOTONIC stands still then, CLOCK_BOOTTIME does not."""
    if clock.BOOTTIME is None:
        pytest.skip("this system has no CLOCK_BOOTTIME")
    boot = time.clock_gettime_ns(clock.BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime_ns", {clock.BOOTTIME: boot + 600 * 10**9}.__getitem__)
    assert SystemClock().monotonic_us() == (boot + 600 * 10**9) // 1000


def test_where_there_is_no_such_clock_the_monotonic_one_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clock, "BOOTTIME", None)
    before = time.monotonic_ns() // 1000
    assert before <= SystemClock().monotonic_us() <= time.monotonic_ns() // 1000
