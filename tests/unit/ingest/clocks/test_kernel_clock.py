import ctypes
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from districam_ingest import metrics
from districam_ingest.clocks.kernel_clock import export_kernel_clock, load_adjtimex, read_kernel_clock

OFFSETS = {"modes": 0, "esterror": 32}
"""Offsets of `struct timex` on 64-bit Linux; `modes` must be 0, other values set the clock."""


class Kernel:
    """Stands in for the C library's adjtimex: writes the struct's bytes as the kernel does."""

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
def test_the_kernels_clock_state_is_exported(state: int, is_synchronized: int):
    assert exported(Kernel(state)) == {
        "districam_ingest_host_clock_synchronized": is_synchronized,
        "districam_ingest_host_clock_estimated_error_seconds": 0.0015,
    }


@pytest.mark.parametrize("kernel", [Kernel(-1), None])
def test_nothing_is_exported_if_the_kernel_refuses_or_adjtimex_is_missing(kernel: Kernel | None):
    assert exported(kernel) == {}


def test_fields_of_this_kernels_timex_are_read_at_their_offsets():
    """The time is the last field that is read: if it is right, the offsets are."""
    ask = load_adjtimex()
    assert ask is not None
    clock = read_kernel_clock(ask)
    if clock is None:
        pytest.skip("this kernel refuses")
    assert abs(clock.now_s - time.time()) < 2
    assert clock.error_s >= 0
