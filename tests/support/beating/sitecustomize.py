"""Loaded by Python at start-up if PYTHONPATH names this folder: samples a service's event loop every 5 ms.

It writes a line per sample to the file BEATS_FILE: monotonic clock, lateness, and the CPU time of the loop's
thread since the previous sample, each in µs. The last is an upper bound of the longest callback.
"""

import asyncio
import os
import time
from pathlib import Path

from districam_common.runtime import loop_lag

BEAT_S = 0.005


async def _beat() -> None:
    with Path(os.environ["BEATS_FILE"]).open("w", buffering=1 << 14) as out:
        worked_us = time.thread_time_ns() // 1000
        while True:
            due_us = time.monotonic_ns() // 1000 + round(BEAT_S * 1e6)
            await asyncio.sleep(BEAT_S)
            now_us, before_us = time.monotonic_ns() // 1000, worked_us
            worked_us = time.thread_time_ns() // 1000
            out.write(f"{now_us} {max(0, now_us - due_us)} {worked_us - before_us}\n")


if "BEATS_FILE" in os.environ:
    loop_lag._sample = _beat  # pyright: ignore[reportPrivateUsage]  # replaces the service's own sampling
