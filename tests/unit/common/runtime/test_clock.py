import time

import pytest

from districam_common.runtime import clock
from districam_common.runtime.clock import SystemClock


@pytest.mark.correctness
def test_monotonic_time_includes_suspend(monkeypatch: pytest.MonkeyPatch):
    """Linux's CLOCK_MONOTONIC stops during suspend, CLOCK_BOOTTIME does not."""
    if clock.BOOTTIME is None:
        pytest.skip("this system has no CLOCK_BOOTTIME")
    boot = time.clock_gettime_ns(clock.BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime_ns", {clock.BOOTTIME: boot + 600 * 10**9}.__getitem__)
    assert SystemClock().monotonic_us() == (boot + 600 * 10**9) // 1000


def test_without_boottime_the_monotonic_clock_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clock, "BOOTTIME", None)
    before = time.monotonic_ns() // 1000
    assert before <= SystemClock().monotonic_us() <= time.monotonic_ns() // 1000
