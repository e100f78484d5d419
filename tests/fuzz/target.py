"""What is fuzzed: a function of bytes that must end soon, take little memory, and raise nothing."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_CPU_S, MAX_CPU_S_PER_KIB = 0.1, 0.05
"""CPU time that an input may take, and each KiB of it, in code that reports its coverage (about half as fast)."""
MAX_MEMORY_KIB = 64 << 10
"""By which one input may raise the most memory that the process has had."""
MAX_TRIES = 3


class Finding(Exception):
    """An input broke a promise. The message says which."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader of foreign bytes.

    Attributes:
        run: reads an input; what it raises is a finding.
        seeds: makes inputs that get far.
        max_bytes: bytes of an input.
        dictionary: what inputs are made of, for the fuzzer's dictionary.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    max_bytes: int = 4096
    dictionary: tuple[bytes, ...] = ()


def run_input(target: Target, data: bytes) -> None:
    """Runs the target on the input.

    Raises:
        Found: it took too long, or too much memory. Whatever else is raised, the target's code raised.
    """
    before_kib = _max_rss_kib()
    took_s = _cpu_time_s(target, data)
    grown_kib = _max_rss_kib() - before_kib
    if grown_kib > MAX_MEMORY_KIB:
        raise Finding(f"{len(data)} bytes took {grown_kib >> 10} MiB of memory")
    limit_s = MAX_CPU_S + MAX_CPU_S_PER_KIB * len(data) / 1024
    for _ in range(MAX_TRIES - 1):  # the collector of garbage, or a page that was swapped out, may have come between
        if took_s <= limit_s:
            return
        took_s = min(took_s, _cpu_time_s(target, data))
    if took_s > limit_s:
        raise Finding(f"{len(data)} bytes took {took_s:.2f} s of CPU, over {limit_s:.2f}")


def _cpu_time_s(target: Target, data: bytes) -> float:
    began_s = time.thread_time()
    target.run(data)
    return time.thread_time() - began_s


def _max_rss_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def require(condition: bool, message: str) -> None:  # noqa: FBT001  # it reads as a sentence
    """A promise that the code makes beside not to fail."""
    if not condition:
        raise Finding(message)
