"""Reads the kernel's state of this host's clock with adjtimex(2), without changing it."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from districam_ingest import metrics

TIME_ERROR = 5
"""Return value of adjtimex while the clock is not synchronized."""


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
    """The kernel's clock: whether synchronized, its estimated error, and its time in seconds UTC."""

    is_synchronized: bool
    error_s: float
    now_s: int


AdjtimexCall = Callable[[Any], int]


def load_adjtimex() -> AdjtimexCall | None:
    """The C library's adjtimex; None where it has none."""
    try:
        return ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None


def read_kernel_clock(adjtimex: AdjtimexCall | None) -> KernelClock | None:
    """Reads the clock's state; None without adjtimex, or if the kernel refuses, as in some containers."""
    timex = _Timex(modes=0)  # 0: read only
    state = adjtimex(ctypes.byref(timex)) if adjtimex is not None else -1
    if state < 0:
        return None
    return KernelClock(state != TIME_ERROR, timex.esterror / 1e6, timex.seconds)  # esterror is in µs


def export_kernel_clock(clock: KernelClock | None, registry: CollectorRegistry = REGISTRY) -> None:
    """Exports the kernel clock's metrics; removes them if `clock` is None, since a 0 would be wrong."""
    if clock is not None:
        metrics.CLOCK_SYNCHRONIZED.set(clock.is_synchronized)
        metrics.CLOCK_ERROR.set(clock.error_s)
        return
    for metric in (metrics.CLOCK_SYNCHRONIZED, metrics.CLOCK_ERROR):
        with suppress(KeyError):  # already removed
            registry.unregister(metric)
