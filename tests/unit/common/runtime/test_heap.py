"""Freed memory goes back to the system."""

import subprocess
import sys

import pytest

from districam_common.runtime import heap


@pytest.mark.skipif(heap.trimmer() is None, reason="this C library has no malloc_trim")
def test_what_was_held_for_a_while_is_given_back_though_something_behind_it_is_kept():
    grown_mb, left_mb = map(float, said(HELD).split())
    assert grown_mb > 90
    assert left_mb < 30


def said(program: str) -> str:
    """By a process of its own, whose heap nobody else has used."""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout


HELD = """
import asyncio, os
from pathlib import Path
from districam_common.runtime import heap

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

async def main():
    before_mb = resident_mb()
    held = [b"1" * 100_000 for _ in range(1000)]  # too small for glibc to map each alone
    kept, grown_mb = held[::100], resident_mb() - before_mb
    async with heap.trim_periodically(every_s=0.05):
        del held
        for _ in range(100):
            await asyncio.sleep(0.05)
            if resident_mb() - before_mb < 30:
                break
    print(grown_mb, resident_mb() - before_mb)
    del kept  # not before

asyncio.run(main())
"""


@pytest.mark.skipif(heap.trimmer() is None, reason="this C library has no mallopt")
def test_threads_share_two_arenas():
    """By glibc's own statistics (malloc_info(3))."""
    found = subprocess.run([sys.executable, "-c", ARENAS], capture_output=True, text=True, timeout=30, check=True)
    assert 1 <= int(found.stdout) <= 2


ARENAS = """
import ctypes, tempfile, threading
from districam_common.runtime import heap
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


def test_pauses_for_cyclic_garbage_are_short_however_much_is_kept_and_garbage_goes():
    """The longest pause among many, beside that of one collection of everything."""
    longest_s, whole_s, garbage = said(COLLECTED).split()
    assert float(longest_s) < float(whole_s) / 3
    assert garbage == "gone"


def test_what_takes_the_place_of_others_makes_no_long_pause_either():
    """The interpreter counts none of it, since as much is freed: a later collection would meet all of it at once."""
    longest_s, whole_s = map(float, said(REPLACED).split())
    assert longest_s < whole_s / 3


MEASURE = """
import asyncio, gc, random, time, weakref
from districam_common.runtime import heap

class Node:
    pass

longest_s = began_s = 0.0

def measure(phase, info):
    global longest_s, began_s
    if phase == "start":
        began_s = time.thread_time()
    else:
        longest_s = max(longest_s, time.thread_time() - began_s)

def whole_s():
    gc.callbacks.remove(measure)
    began_s = time.thread_time()
    gc.collect()
    return time.thread_time() - began_s
"""

REPLACED = (
    MEASURE
    + """
async def main():
    global longest_s
    kept = [Node() for _ in range(1_500_000)]
    async with heap.collect_periodically():
        await asyncio.sleep(1)
        gc.callbacks.append(measure)
        for at in range(0, len(kept), 20_000):
            for place in range(at, at + 20_000):
                kept[place] = Node()
            await asyncio.sleep(0.02)
        gc.collect(1)  # as some allocations later would
    print(longest_s, whole_s())

asyncio.run(main())
"""
)

COLLECTED = (
    MEASURE
    + """
async def main():
    kept = []
    gc.callbacks.append(measure)
    async with heap.collect_periodically():
        for _ in range(150):
            kept += [Node() for _ in range(20_000)]
            await asyncio.sleep(0.01)
        node = Node()
        node.itself, seen = node, weakref.ref(node)
        del node
        async with asyncio.timeout(20):
            while seen() is not None:
                kept += [[n] for n in range(20_000)]
                await asyncio.sleep(0.01)
    print(longest_s, whole_s(), "gone" if seen() is None else "kept")

asyncio.run(main())
"""
)
