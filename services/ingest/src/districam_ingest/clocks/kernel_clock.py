"""What the kernel says of this host's clock: adjtimex(2), read-only."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from districam_ingest import metrics

TIME_ERROR = 5
"""The clock's state while nobody disciplines it."""


class _Timex(ctypes.Structure):
    """`struct timex` of <sys/timex.h>."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("fraction", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True, slots=True)
class KernelClock:
    """Whether something keeps the clock in time, and by how much it is probably off; `now_s`: what it shows."""

    is_synchronized: bool
    error_s: float
    now_s: int


AdjtimexCall = Callable[[Any], int]


def load_adjtimex() -> AdjtimexCall | None:
    """The C library's; None where it has none."""
    try:
        return ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None


def read_kernel_clock(adjtimex: AdjtimexCall | None) -> KernelClock | None:
    """None if the kernel refuses, as it does in some containers."""
    timex = _Timex(modes=0)
    state = adjtimex(ctypes.byref(timex)) if adjtimex is not None else -1
    if state < 0:
        return None
    return KernelClock(state != TIME_ERROR, timex.esterror / 1e6, timex.seconds)


def export_kernel_clock(clock: KernelClock | None, registry: CollectorRegistry = REGISTRY) -> None:
    """What the kernel says of the clock. If it says nothing, there are no such series: a 0 would be a lie."""
    if clock is not None:
        metrics.CLOCK_SYNCHRONIZED.set(clock.is_synchronized)
        metrics.CLOCK_ERROR.set(clock.error_s)
        return
    for metric in (metrics.CLOCK_SYNCHRONIZED, metrics.CLOCK_ERROR):
        with suppress(KeyError):  # not a second time
            registry.unregister(metric)
