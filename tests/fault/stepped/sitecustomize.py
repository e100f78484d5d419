"""Loaded by Python at start-up if PYTHONPATH names this folder: clocks that can be set while the process runs.

The seconds in the file CLOCK_STEP_FILE are added to the host's wall clock. The monotonic clocks do not
change, as when an operator or NTP sets a clock. They are behind by the seconds in the file CLOCK_STOOD_FILE:
the time that the machine, such as a virtual one, was suspended.
"""

import os
import time
from pathlib import Path

_NS = 1_000_000_000
_step, _suspended = Path(os.environ["CLOCK_STEP_FILE"]), Path(os.environ["CLOCK_STOOD_FILE"])
_true_ns, _monotonic_ns, _gettime_ns = time.time_ns, time.monotonic_ns, time.clock_gettime_ns


def _in(file: Path) -> int:
    try:
        return int(file.read_text() or "0") * _NS
    except FileNotFoundError:
        return 0


def _time_ns() -> int:
    return _true_ns() + _in(_step)


def _time() -> float:
    return _time_ns() / _NS


def _suspended_monotonic_ns() -> int:
    return _monotonic_ns() - _in(_suspended)


def _suspended_gettime_ns(clock: int) -> int:
    return _gettime_ns(clock) - (_in(_suspended) if clock == time.CLOCK_BOOTTIME else 0)


time.time_ns, time.time = _time_ns, _time
time.monotonic_ns, time.clock_gettime_ns = _suspended_monotonic_ns, _suspended_gettime_ns
