"""A pytest plugin: what each test costs, in CPU seconds of its process and of all that it started, as the property `cpu_s`
of the JUnit report. What a fixture costs counts to the test that made it or that ended it.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """CPU time since the reading before."""

    def __init__(self) -> None:
        self._before_s = total_cpu_s()

    def read_s(self) -> float:
        """Never less than 0: what a process cost is lost if it ends as nobody's child."""
        before_s, self._before_s = self._before_s, total_cpu_s()
        return max(0.0, self._before_s - before_s)


def total_cpu_s() -> float:
    """Of this process, of its children that have ended, and of all living ones below."""
    own = os.times()
    return sum(own[:4]) + sum(map(_cpu_s, _below(os.getpid())))


def _cpu_s(pid: int) -> float:
    """User and system time of all its threads, and of its children that have ended (proc(5)); 0 if it is gone."""
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
    """What it takes to import all tests is no test's."""
    session.config.stash[_METER] = CpuMeter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """The report of the end carries the properties into the JUnit file."""
    if call.when == "teardown":
        item.user_properties.append(("cpu_s", f"{item.config.stash[_METER].read_s():.2f}"))
    return (yield)
