import ctypes
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from districam_ingest import metrics
from districam_ingest.clocks.kernel_clock import export_kernel_clock, load_adjtimex, read_kernel_clock

OFFSETS = {"modes": 0, "esterror": 32}
"""Of 64 bit Linux; `modes` must be 0: everything else sets the clock."""


class Kernel:
    """Stands where the C library does: answers in bytes, as the kernel lays them out."""

    def __init__(self, state: int) -> None:
        self._state = state

    def __call__(self, reference: Any) -> int:
        address = ctypes.addressof(reference._obj)
        assert ctypes.c_uint.from_address(address + OFFSETS["modes"]).value == 0
        ctypes.c_long.from_address(address + OFFSETS["esterror"]).value = 1_500
        return self._state


def exported(kernel: Kernel | None) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(metrics.CLOCK_SYNCHRONIZED)
    registry.register(metrics.CLOCK_ERROR)
    for _ in range(2):
        export_kernel_clock(read_kernel_clock(kernel), registry)
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if line[0] != "#")}


@pytest.mark.parametrize(("state", "is_synchronized"), [(0, 1), (1, 1), (5, 0)])
def test_the_kernels_word_is_exported(state: int, is_synchronized: int):
    assert exported(Kernel(state)) == {
        "districam_ingest_host_clock_synchronized": is_synchronized,
        "districam_ingest_host_clock_estimated_error_seconds": 0.0015,
    }


@pytest.mark.parametrize("kernel", [Kernel(-1), None])
def test_nothing_is_exported_where_the_kernel_refuses_or_cannot_be_asked(kernel: Kernel | None):
    assert exported(kernel) == {}


def test_what_this_kernel_says_is_read_where_it_stands():
    """Its own time lies behind every other field that is read."""
    ask = load_adjtimex()
    assert ask is not None
    clock = read_kernel_clock(ask)
    if clock is None:
        pytest.skip("this kernel refuses")
    assert abs(clock.now_s - time.time()) < 2
    assert clock.error_s >= 0
