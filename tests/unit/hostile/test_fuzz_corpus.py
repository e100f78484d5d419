"""What the fuzzer has found its way with so far: every target still takes all of it, and judges as it should."""

import resource
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from fuzz.target import MAX_CPU_S, MAX_MEMORY_KIB, Finding, run_input
from fuzz.targets import CORPUS, TARGETS, corpus_files

pytestmark = pytest.mark.hostile

INPUTS_MOST, BYTES_MOST = 120, 4096


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_and_every_kept_input_is_taken(name: str):
    target = TARGETS[name]
    seeds, inputs = target.seeds(), corpus_files(name)
    assert len(seeds) > 8
    assert inputs, f"{CORPUS / name} is empty"
    for data in (*seeds, *(path.read_bytes() for path in inputs)):
        run_input(target, data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_stays_small(name: str):
    sizes = [path.stat().st_size for path in corpus_files(name)]
    assert len(sizes) <= INPUTS_MOST
    assert max(sizes) <= BYTES_MOST


def judged_with(run: Callable[[bytes], None]) -> None:
    run_input(replace(TARGETS["sdp"], run=run), b"x")


def test_what_a_target_raises_is_a_finding():
    def broken(data: bytes) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        judged_with(broken)


def test_an_input_that_takes_too_long_is_a_finding():
    def slow(_: bytes) -> None:
        until_s = time.thread_time() + 2 * MAX_CPU_S
        while time.thread_time() < until_s:
            pass

    with pytest.raises(Finding, match="of CPU"):
        judged_with(slow)


def test_an_input_that_takes_much_memory_is_a_finding():
    """Judged before its time is: pages that are touched for the first time cost much of that."""
    limit_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 2 * MAX_MEMORY_KIB << 10

    def greedy(_: bytes) -> None:
        _held = bytes(1) * limit_bytes

    with pytest.raises(Finding, match="of memory"):
        judged_with(greedy)
