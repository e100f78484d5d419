"""Freed memory goes back to the system."""

import asyncio
import os
import subprocess
import sys
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


@pytest.mark.skipif(heap.trimmer() is None, reason="this C library has no mallopt")
def test_threads_share_two_arenas():
    """In a process of its own: glibc's own statistics (malloc_info(3)) tell how many there are."""
    found = subprocess.run(
        [sys.executable, "-c", ARENAS], capture_output=True, text=True, timeout=30, check=True
    )
    assert 1 <= int(found.stdout) <= 2


ARENAS = """
import ctypes, tempfile, threading
from districam_common import heap
heap.limit_arenas()
gate = threading.Barrier(9)
def work():
    kept = ctypes.create_string_buffer(50_000)
    gate.wait(20)
threads = [threading.Thread(target=work) for _ in range(8)]
for one in threads: one.start()
gate.wait(20)
for one in threads: one.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as file:
    out = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, out)
    libc.fclose(out)
    print(file.read().count(b"<heap nr="))
"""
