"""Freed memory is returned to the system, and collections are short."""

import subprocess
import sys

import pytest

from districam_common.runtime import heap


@pytest.mark.skipif(heap.trimmer() is None, reason="this C library has no malloc_trim")
def test_freed_memory_below_used_memory_is_returned_to_the_system():
    grown_mb, left_mb = map(float, output_of(HELD).split())
    assert grown_mb > 90
    assert left_mb < 30


def output_of(program: str) -> str:
    """Output of a separate process, whose heap nothing else has used."""
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


def test_collection_pauses_are_short_with_many_objects_and_garbage_is_freed():
    """The longest of many pauses, compared with one full collection."""
    longest_s, whole_s, garbage = output_of(COLLECTED).split()
    assert float(longest_s) < float(whole_s) / 3
    assert garbage == "gone"


def test_objects_that_replace_others_cause_no_long_collection_pause():
    """The interpreter does not count them, since as many are freed; a later collection would visit all of them at once."""
    longest_s, whole_s = map(float, output_of(REPLACED).split())
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
