"""A fuzz target: a function of bytes that must return soon, use little memory and raise nothing."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_CPU_S, MAX_CPU_S_PER_KIB = 0.1, 0.05
"""Maximum CPU time per input and per KiB of it, in code with coverage instrumentation (about half as fast)."""
MAX_MEMORY_KIB = 64 << 10
"""Maximum increase of the process's peak memory by one input."""
MAX_TRIES = 3


class Finding(Exception):
    """An input violated a requirement, named in the message."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader of untrusted bytes.

    Attributes:
        run: reads an input; any exception is a finding.
        seeds: returns inputs with high coverage.
        max_bytes: maximum length of an input.
        dictionary: tokens for the fuzzer's dictionary.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    max_bytes: int = 4096
    dictionary: tuple[bytes, ...] = ()


def run_input(target: Target, data: bytes) -> None:
    """Runs the target on the input.

    Raises:
        Finding: it took too much time or memory. Any other exception comes from the target's code.
    """
    before_kib = _max_rss_kib()
    took_s = _cpu_time_s(target, data)
    grown_kib = _max_rss_kib() - before_kib
    if grown_kib > MAX_MEMORY_KIB:
        raise Finding(f"{len(data)} bytes took {grown_kib >> 10} MiB of memory")
    limit_s = MAX_CPU_S + MAX_CPU_S_PER_KIB * len(data) / 1024
    for _ in range(MAX_TRIES - 1):  # garbage collection or swapping may have caused it
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
    """Raises Finding unless the condition holds."""
    if not condition:
        raise Finding(message)
