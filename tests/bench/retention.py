"""`python -m bench.retention`: expires 100,000 objects (or SEGMENTS) while 20 cameras are stored. JSON last.

The effect on recording is the store's latency of a put: two segments of 2.5 MB a second, before and during retention.
"""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import argparse
import asyncio
import os
import tempfile
import time
import uuid
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench import report
from bench.archive import Archive, print_progress, put, put_segments, running
from districam_common.contract import names
from districam_common.contract.names import DAY_US
from districam_common.contract.segment_array import IndexEntry

SEGMENTS = 100_000
CAMERAS = 20
S = 1_000_000
DAYS = 2
_BODY = os.urandom(2_500_000)


class SegmentWriter:
    """Puts 10 s segments, 20 cameras in 10 s, in turn."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._times: list[float] = []
        self.keys: set[str] = set()

    async def run(self, until: asyncio.Event) -> None:
        while not until.is_set():
            began_s = time.monotonic()
            key = self._key(len(self.keys))
            await put(self._archive.bucket, key, _BODY)
            self._times.append((time.monotonic() - began_s) * 1e3)
            self.keys.add(key)
            await asyncio.sleep(max(0.0, 10 / CAMERAS - (time.monotonic() - began_s)))

    def _key(self, number: int) -> str:
        now_us = time.time_ns() // 1000
        entry = IndexEntry(
            epoch=str(uuid.uuid4()), first_seq=number, last_seq=number, start_us=now_us, end_us=now_us + 10 * S,
            bytes=len(_BODY), init_bytes=4, flags=1,
        )  # fmt: skip
        return names.segment_object_key(self._archive.camera_ids[number % len(self._archive.camera_ids)], entry)

    def drain_put_times(self) -> dict[str, float]:
        """Milliseconds per put since the last call."""
        cuts = quantiles(self._times, n=20)
        self._times.clear()
        return {"p50": round(cuts[9], 1), "p95": round(cuts[18], 1)}


async def measure_retention(archive: Archive, count: int, rate: int, baseline_s: float) -> dict[str, Any]:
    done = asyncio.Event()
    recording = SegmentWriter(archive)
    async with asyncio.TaskGroup() as tasks, archive.indexer(
        DISTRICAM_INDEXER__RETENTION_S="0.5", DISTRICAM_INDEXER__RETENTION_DELETES_S=str(rate)
    ) as indexer:  # fmt: skip
        await indexer.wait_for_event("index rebuilt", 900)
        tasks.create_task(recording.run(done))
        await asyncio.sleep(baseline_s)
        quiet = recording.drain_put_times()
        await archive.redis.hset(names.WATERMARKS, "0", str(time.time_ns() // 1000))
        began_s = time.monotonic()
        async with asyncio.timeout(3600):
            while await indexer.metric("districam_retention_deleted_total") < count:
                await asyncio.sleep(0.5)
        taken_s = time.monotonic() - began_s
        busy = recording.drain_put_times()
        async with asyncio.timeout(60):
            while await archive.redis.keys("dc1:seg:*"):
                await asyncio.sleep(0.1)
        done.set()
    left = {one.key async for one in archive.bucket.versions("cam-")}
    return {
        "objects": count,
        "deleted_s": round(count / taken_s),
        "limit_s": rate,
        "put_ms_without": quiet,
        "put_ms_meanwhile": busy,
        "expired_and_left": len(left - recording.keys),
        "young_and_gone": len(recording.keys - left),
    }


async def main(
    results: Path | None, count: int, *, cameras: int = CAMERAS, rate: int = 200, baseline_s: float = 30
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running(Path(home), cameras, retention_days=DAYS, object_lock=True) as archive:
            old_us = time.time_ns() // 1000 - (DAYS + 1) * DAY_US
            print_progress(f"stocked at {await put_segments(archive, count, old_us):.0f} a second")
            figures = await measure_retention(archive, count, rate, baseline_s)
    report.write_results(results, "retention", figures, {"cameras": cameras})
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.retention", description=__doc__)
    parser.add_argument("--results", type=Path, help="output folder")
    asyncio.run(main(parser.parse_args().results, int(os.environ.get("SEGMENTS", SEGMENTS))))
