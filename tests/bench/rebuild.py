"""`python -m bench.rebuild`: Redis emptied over a bucket of 200,000 small objects (SEGMENTS of others). The last line is JSON.

Against a bare LIST of the same bucket by the same client, in parallel alike; then killed half way and gone on with.
"""

# Redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import argparse
import asyncio
import hashlib
import os
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

from bench import report
from bench.archive import Archive, running, say, stock

SEGMENTS = 200_000
CAMERAS = 20
DISTRICT = 26_438_400
INDEXED = ("dc1:seg:*", "dc1:day:*", "dc1:epoch:*")


async def listed(archive: Archive) -> float:
    """Objects a second of a bare LIST, a day of a camera each, as many at once as the rebuild does."""
    days = deque([day for camera in archive.camera_ids for day in await archive.vault.folders(f"{camera}/")])
    count, began_s = 0, time.monotonic()

    async def work() -> None:
        nonlocal count
        while days:
            async for page in archive.vault.pages(days.popleft()):
                count += len(page)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(archive.s3.threads):
            tasks.create_task(work())
    return count / (time.monotonic() - began_s)


async def contents(archive: Archive) -> str:
    """A digest of all that is indexed, sorted."""
    digest = hashlib.sha256()
    for pattern in INDEXED:
        for key in sorted(cast("list[bytes]", await archive.redis.keys(pattern))):
            match await archive.redis.type(key):
                case b"zset":
                    value: Any = await archive.redis.zrange(key, 0, -1, withscores=True)
                case b"hash":
                    value = sorted((await archive.redis.hgetall(key)).items())
                case _:
                    value = await archive.redis.get(key)
            digest.update(repr((key, value)).encode())
    return digest.hexdigest()


async def measured(archive: Archive, count: int) -> dict[str, Any]:
    list_s = await listed(archive)
    say(f"bare LIST: {list_s:.0f} a second")
    async with archive.indexer() as first:
        built = await first.waits_for("index rebuilt", 900)
        assert built["objects"] == count, built
        before = await contents(archive)
        await archive.redis.flushall()
        began_s = time.monotonic()
        built = await first.waits_for("index rebuilt", 900, count=2)
        whole_s = time.monotonic() - began_s
        is_equal = await contents(archive) == before
    say(f"rebuilt at {built['objects_s']} a second, {whole_s:.0f} s in all")
    await archive.redis.flushall()
    left = await _killed_half_way(archive, built["objects"] / built["objects_s"] / 2)
    async with archive.indexer(DISTRICAM_INDEXER__REBUILD_LOCK_S="3") as third:
        resumed = await third.waits_for("index rebuilt", 900)
    rate = built["objects_s"]
    return {
        "segments": count,
        "list_s": round(list_s),
        "rebuild_s": rate,
        "ratio": round(rate / list_s, 2),
        "whole_s": round(whole_s, 1),
        "equal": is_equal,
        "resumed_objects": resumed["objects"],
        "indexed_at_the_kill": left,
        "resumed_equal": await contents(archive) == before,
        "district_minutes": round(DISTRICT / rate / 60),
    }


async def _killed_half_way(archive: Archive, after_s: float) -> int:
    """How many days of cameras were noted as read."""
    async with archive.indexer() as second:
        await second.waits_for("index rebuild begun", 60)
        await asyncio.sleep(after_s)
    noted = cast("list[bytes]", await archive.redis.keys("dc1:rebuilt:*"))
    return sum([await archive.redis.scard(key) for key in noted])


async def main(results: Path | None, count: int, cameras: int = CAMERAS) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running(Path(home), cameras, retention_days=400, object_lock=False) as archive:
            say(f"stocked at {await stock(archive, count, time.time_ns() // 1000):.0f} a second")
            figures = await measured(archive, count)
    report.written(results, "rebuild", figures, {"cameras": cameras})
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.rebuild", description=__doc__)
    parser.add_argument("--results", type=Path, help="a folder to write to")
    asyncio.run(main(parser.parse_args().results, int(os.environ.get("SEGMENTS", SEGMENTS))))
