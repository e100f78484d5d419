"""CPU time and memory of processes from /proc, and the machine and versions of a run."""

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """CPU time of processes and their children so far, and the time of the reading."""

    at_s: float
    cpu_s: float


def cpu(pids: Sequence[int]) -> Reading:
    """Reads the CPU time. Raises OSError if a process has ended."""
    return Reading(time.monotonic(), sum(_cpu_s(pid) for pid in pids) + sum(map(_cpu_s, _below(pids))))


def _cpu_s(pid: int) -> float:
    """User and system time of all threads of a process and of its terminated children (proc(5))."""
    return sum(map(int, _stat(pid)[11:15])) * _TICK_S


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, from the third on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _below(pids: Sequence[int]) -> list[int]:
    """The running descendants of these processes."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended
            if path.name.isdecimal():
                parents[int(path.name)] = int(_stat(int(path.name))[1])
    found, known = list[int](), set(pids)
    while more := [pid for pid, parent in parents.items() if parent in known and pid not in known]:
        found += more
        known |= set(more)
    return found


def pss_mb(pids: Sequence[int]) -> float:
    """Total proportional set size of processes and their descendants."""
    return sum(_pss_kb(pid) for pid in (*pids, *_below(pids))) / 1024


def _pss_kb(pid: int) -> int:
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def versions() -> dict[str, str]:
    """Versions of the software that the figures depend on."""
    ffmpeg_output = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True, timeout=20)
    return {
        "kernel": platform.release(),
        "ffmpeg": ffmpeg_output.stdout.split()[2],
        **{name: importlib.metadata.version(name) for name in ("aiokafka", "av", "uvloop")},
    }
