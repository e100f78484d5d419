"""Read by Python at its start, where PYTHONPATH names this folder: a wall clock that somebody sets while it runs.

The file that CLOCK_STEP_FILE names holds seconds; they are added to what the host's clock says. The monotonic clock
stays as it is, as it does where an operator or NTP sets a clock.
"""

import os
import time
from pathlib import Path

_NS = 1_000_000_000
_file = Path(os.environ["CLOCK_STEP_FILE"])
_true_ns = time.time_ns


def _step_ns() -> int:
    try:
        return int(_file.read_text() or "0") * _NS
    except FileNotFoundError:
        return 0


def _time_ns() -> int:
    return _true_ns() + _step_ns()


def _time() -> float:
    return _time_ns() / _NS


time.time_ns, time.time = _time_ns, _time
