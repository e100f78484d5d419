"""What a process costs, as the system counts it; and which machine and versions that was."""

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """CPU time of processes so far, and when that was."""

    at_s: float
    cpu_s: float


def cpu(pids: Sequence[int]) -> Reading:
    """Raises OSError if one is gone."""
    return Reading(time.monotonic(), sum(_cpu_s(pid) for pid in pids))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S  # utime, stime of all its threads


def pss_mb(pids: Sequence[int]) -> float:
    """Proportional set size of processes together."""
    return sum(_pss_kb(pid) for pid in pids) / 1024


def _pss_kb(pid: int) -> int:
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True, timeout=20)
    return {
        "kernel": platform.release(),
        "ffmpeg": said.stdout.split()[2],
        **{name: importlib.metadata.version(name) for name in ("aiokafka", "av", "uvloop")},
    }
