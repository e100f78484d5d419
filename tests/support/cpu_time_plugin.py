"""A pytest plugin that reports each test's CPU time as the property `cpu_s` in the JUnit report.

It counts seconds of the process and all its descendants. A fixture counts for the test that sets it up or
tears it down.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """Measures CPU time since the previous reading."""

    def __init__(self) -> None:
        self._before_s = total_cpu_s()

    def read_s(self) -> float:
        """Never negative: the time of a process that ends without being reaped here is lost."""
        before_s, self._before_s = self._before_s, total_cpu_s()
        return max(0.0, self._before_s - before_s)


def total_cpu_s() -> float:
    """CPU time of this process, its terminated children, and all living descendants."""
    own = os.times()
    return sum(own[:4]) + sum(map(_cpu_s, _below(os.getpid())))


def _cpu_s(pid: int) -> float:
    """User and system time of all threads and of terminated children (proc(5)); 0 if the process has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) * _TICK_S
    return 0.0


def _below(pid: int) -> Iterator[int]:
    with suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _below(child)


_METER = pytest.StashKey[CpuMeter]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Excludes the time to import all tests."""
    session.config.stash[_METER] = CpuMeter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """The teardown report carries the properties into the JUnit file."""
    if call.when == "teardown":
        item.user_properties.append(("cpu_s", f"{item.config.stash[_METER].read_s():.2f}"))
    return (yield)
