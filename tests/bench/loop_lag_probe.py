"""`python -m bench.loop_lag_probe MODULE ARGUMENTS…`: runs a service and measures how long its event loop is blocked.

Every 5 ms the loop's thread reads how much CPU time it used since the last sample: an upper bound of the
longest callback in between, which other programs on the machine do not distort. Values over 10 ms are written
as JSON lines to the
file BEATS: `{"at", "cpu_ms", "wall_ms", "where"}`; `where` is the loop's stack once it was blocked for 100 ms.
"""

import asyncio
import contextlib
import json
import os
import runpy
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator
from pathlib import Path

from districam_common.runtime import loop_lag

SAMPLE_INTERVAL_S = 0.005
REPORT_THRESHOLD_S = 0.01
STACK_THRESHOLD_S = 0.1


class LoopLagProbe:
    """Measures the loop of the thread that creates it."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._thread = threading.get_ident()
        self._cpu_s = self._wall_s = 0.0
        self._where: list[str] = []

    async def run(self) -> None:
        while True:
            self._cpu_s, self._wall_s, self._where = time.clock_gettime(self._clock), time.monotonic(), []
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            cpu_s = time.clock_gettime(self._clock) - self._cpu_s
            if cpu_s >= REPORT_THRESHOLD_S:
                wall_ms = round((time.monotonic() - self._wall_s) * 1e3)
                line = {"at": time.time(), "cpu_ms": round(cpu_s * 1e3), "wall_ms": wall_ms, "where": self._where}
                with self._out.open("a") as out:
                    out.write(json.dumps(line) + "\n")

    def sample_stacks(self) -> None:
        """Samples the loop's stack while it is blocked; runs for ever in a thread of its own."""
        while True:
            time.sleep(0.02)
            if not self._where and time.clock_gettime(self._clock) - self._cpu_s > STACK_THRESHOLD_S:
                frame = sys._current_frames().get(self._thread)  # pyright: ignore[reportPrivateUsage]
                self._where = [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_stack(frame)[-8:]]


@contextlib.asynccontextmanager
async def measured() -> AsyncGenerator[None]:
    """Replaces the services' own lag measurement."""
    probe = LoopLagProbe(Path(os.environ["BEATS"]))
    threading.Thread(target=probe.sample_stacks, daemon=True).start()
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(probe.run())
        try:
            yield
        finally:
            beating.cancel()


if __name__ == "__main__":
    loop_lag.measure_loop_lag = measured
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
