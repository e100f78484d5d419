"""Freed memory goes back to the system."""

import asyncio
import os
from pathlib import Path

import pytest

from districam_common import heap

BLOCK, BLOCKS = 100_000, 1000
"""Too small for glibc to map on its own: such blocks come from the heap."""


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(heap.trimmer() is None, reason="this C library has no malloc_trim")
async def test_what_was_held_for_a_while_is_given_back_though_something_behind_it_is_kept():
    before_mb = resident_mb()
    held = [b"\x01" * BLOCK for _ in range(BLOCKS)]
    kept = held[::100]
    assert resident_mb() - before_mb > 90
    async with heap.trimmed(every_s=0.05), asyncio.timeout(20):
        del held
        while resident_mb() - before_mb > 30:
            await asyncio.sleep(0.05)
    assert len(kept) == BLOCKS // 100
