"""What is fuzzed: a function of bytes that must end soon, take little memory, and raise nothing."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

CPU_S, CPU_S_PER_KIB = 0.1, 0.05
"""CPU time that an input may take, and each KiB of it, in code that reports its coverage (about half as fast)."""
MEMORY_KIB = 64 << 10
"""By which one input may raise the most memory that the process has had."""
TRIES = 3


class Found(Exception):
    """An input broke a promise. The message says which."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader of foreign bytes.

    Attributes:
        run: reads an input; what it raises is a finding.
        seeds: makes inputs that get far.
        most: bytes of an input.
        words: what inputs are made of, for the fuzzer's dictionary.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    most: int = 4096
    words: tuple[bytes, ...] = ()


def judge(target: Target, data: bytes) -> None:
    """Runs the target on the input.

    Raises:
        Found: it took too long, or too much memory. Whatever else is raised, the target's code raised.
    """
    before_kib = _most_kib()
    took_s = _took_s(target, data)
    grown_kib = _most_kib() - before_kib
    if grown_kib > MEMORY_KIB:
        raise Found(f"{len(data)} bytes took {grown_kib >> 10} MiB of memory")
    limit_s = CPU_S + CPU_S_PER_KIB * len(data) / 1024
    for _ in range(
        TRIES - 1
    ):  # the collector of garbage, or a page that was swapped out, may have come between
        if took_s <= limit_s:
            return
        took_s = min(took_s, _took_s(target, data))
    if took_s > limit_s:
        raise Found(f"{len(data)} bytes took {took_s:.2f} s of CPU, over {limit_s:.2f}")


def _took_s(target: Target, data: bytes) -> float:
    began_s = time.thread_time()
    target.run(data)
    return time.thread_time() - began_s


def _most_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def must(holds: bool, what: str) -> None:  # noqa: FBT001  # it reads as a sentence
    """A promise that the code makes beside not to fail."""
    if not holds:
        raise Found(what)
