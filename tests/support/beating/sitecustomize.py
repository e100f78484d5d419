"""Read by Python at its start, where PYTHONPATH names this folder: a service's event loop is watched two hundred times a second.

The file that BEATS_FILE names gets a line a beat: the monotonic clock, how late the beat came, and for how long the loop's thread
has been at work since the beat before, each in µs. The longest callback is at work no longer than that.
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
    loop_lag._sample = _beat  # pyright: ignore[reportPrivateUsage]  # what it is measured with, at the place of it
