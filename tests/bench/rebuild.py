"""`python -m bench.rebuild`: rebuilds an emptied Redis from a bucket of 200,000 small objects (or SEGMENTS). JSON last.

Compared with a bare LIST of the same bucket by the same client with the same parallelism; then killed half
way and resumed. Then everything again while four cameras are recorded into the same bucket and all their
pictures are counted.
"""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import argparse
import asyncio
import hashlib
import os
import tempfile
import time
from collections import Counter, deque
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast

from bench import report
from bench.archive import Archive, Indexer, keys, print_progress, put_segments, running
from bench.recording import FULL, running_recording
from districam_common.contract import names, segment_array
from districam_common.ledger.cover import segment_cover
from districam_common.runtime.settings import S3Settings
from districam_devkit.pipeline import FAST_SETTLE_SETTINGS
from districam_indexer.index_store.index_state import rebuilt_key

SEGMENTS = 200_000
CAMERAS = 20
RECORDED = 4
ROUNDS = 3
DISTRICT = 26_438_400
"""Segments of 30 days of 102 cameras."""
FAST_TAKEOVER_SETTINGS = {"DISTRICAM_INDEXER__REBUILD_LOCK_S": "3"}
"""A short lock, so that a killed indexer is replaced without waiting half a minute."""
MAX_KILL_ATTEMPTS = 5
REBUILD_TIMEOUT_S = 900.0

ObjectsByDay = Mapping[str, int]
"""Number of objects in each day of a camera, by key prefix."""


def days_of(archive: Archive, count: int, end_us: int) -> ObjectsByDay:
    """The days that `put_segments` fills."""
    return Counter("{}/{}/".format(*key.split("/")[:2]) for key in keys(archive.camera_ids, count, end_us))


async def measure_list_rate(archive: Archive, days: ObjectsByDay) -> float:
    """Objects per second of a bare LIST, one camera day per request, with the rebuild's parallelism."""
    left, count, began_s = deque(days), 0, time.monotonic()

    async def work() -> None:
        nonlocal count
        while left:
            async for page in archive.bucket.object_pages(left.popleft()):
                count += len(page)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(S3Settings().threads):
            tasks.create_task(work())
    assert count == sum(days.values()), count
    return count / (time.monotonic() - began_s)


async def contents(archive: Archive) -> str:
    """A digest of the sorted index entries of the archive's cameras, and of the cover of each hour."""
    digest = hashlib.sha256()
    for kind in ("seg", "day", "epoch"):
        for key in sorted(cast("list[bytes]", await archive.redis.keys(f"dc1:{kind}:cam-*"))):
            match kind:
                case "seg":
                    value: Any = await archive.redis.zrange(key, 0, -1, withscores=True)
                    hour = segment_array.decode_members([member for member, _ in value], [at_us for _, at_us in value])
                    value = (value, segment_cover(hour))
                case "epoch":
                    value = sorted((await archive.redis.hgetall(key)).items())
                case _:
                    value = await archive.redis.get(key)
            digest.update(repr((key, value)).encode())
    return digest.hexdigest()


async def measure_rebuilds(archive: Archive, indexer: Indexer, days: ObjectsByDay, rounds: int) -> dict[str, Any]:
    """Empties Redis `rounds` times between two LISTs; returns medians, and whether every rebuilt index was equal."""
    before, lists = await contents(archive), [await measure_list_rate(archive, days)]
    rates: list[float] = []
    wholes: list[float] = []
    are_equal: list[bool] = []
    done = len(indexer.log_events("index rebuilt"))
    for number in range(1, rounds + 1):
        await archive.redis.flushall()
        began_s = time.monotonic()
        built = await indexer.wait_for_event("index rebuilt", REBUILD_TIMEOUT_S, count=done + number)
        wholes.append(time.monotonic() - began_s)
        rates.append(built["objects_s"])
        lists.append(await measure_list_rate(archive, days))
        print_progress(f"rebuilt at {rates[-1]} a second, LIST at {lists[-1]:.0f}, {wholes[-1]:.1f} s in all")
        are_equal.append(await contents(archive) == before)
    return {
        "list_s": round(median(lists)),
        "rebuild_s": round(median(rates)),
        "ratio": round(median(rate * 2 / (a + b) for rate, (a, b) in zip(rates, pairwise(lists), strict=True)), 2),
        "whole_s": round(median(wholes), 1),
        "equal": all(are_equal),
    }


async def kill_half_way(archive: Archive, days: ObjectsByDay) -> dict[str, int]:
    """Empties Redis, kills the rebuilding indexer once half of the days are done; returns days and objects done.

    Tries again if the rebuild finished before it was seen half way.
    """
    for _ in range(MAX_KILL_ATTEMPTS):
        await archive.redis.flushall()
        async with archive.indexer(**FAST_TAKEOVER_SETTINGS) as indexer:
            await _wait_for_progress(archive, len(days) // 2)
            await indexer.kill()
        build, state = await _build_and_state(archive)
        noted = await _days_done(archive, build)
        if state == b"rebuilding" and noted & days.keys():
            return {"days_noted": len(noted), "objects_noted": sum(days.get(one, 0) for one in noted)}
        print_progress("it was done before it was killed: again")
    raise AssertionError(f"killed too late {MAX_KILL_ATTEMPTS} times")


async def _wait_for_progress(archive: Archive, count: int) -> None:
    async with asyncio.timeout(REBUILD_TIMEOUT_S):
        while True:
            build, state = await _build_and_state(archive)
            if state == b"ready" or (build and len(await _days_done(archive, build)) >= count):
                return
            await asyncio.sleep(0.001)


async def _build_and_state(archive: Archive) -> tuple[str, bytes | None]:
    """The key of the current or new index, and its state."""
    build, state = cast("list[bytes | None]", await archive.redis.hmget(names.META, ["build", "state"]))
    return (build or b"").decode(), state


async def _days_done(archive: Archive, build: str) -> set[str]:
    return {one.decode() for one in cast("set[bytes]", await archive.redis.smembers(rebuilt_key(build)))}


async def bench_without_recording(archive: Archive, days: ObjectsByDay, rounds: int = 1) -> dict[str, Any]:
    """Runs without other writes."""
    count = sum(days.values())
    async with archive.indexer() as indexer:
        first = await indexer.wait_for_event("index rebuilt", REBUILD_TIMEOUT_S)
        assert first["objects"] == count, first
        before, figures = await contents(archive), await measure_rebuilds(archive, indexer, days, rounds)
    killed = await kill_half_way(archive, days)
    async with archive.indexer(**FAST_TAKEOVER_SETTINGS) as indexer:
        resumed = await indexer.wait_for_event("index rebuilt", REBUILD_TIMEOUT_S)
    assert killed["objects_noted"] + resumed["objects"] == count, (killed, resumed)
    resumed_equal = await contents(archive) == before
    return {**figures, **killed, "objects_resumed": resumed["objects"], "resumed_equal": resumed_equal}


async def bench_while_recording(
    archive: Archive, days: ObjectsByDay, cameras: int, clip: Mapping[str, object], rounds: int = 1
) -> dict[str, Any]:
    """Runs while cameras are recorded; accounts for pictures recorded before, during and after."""
    settings = {"DISTRICAM_INDEXER__SETTLE_S": FAST_SETTLE_SETTINGS["DISTRICAM_INDEXER__SETTLE_S"]}
    async with running_recording(archive, cameras, clip) as live:
        async with archive.indexer(**settings) as indexer:
            await live.wait_until_found()
            print_progress(f"{cameras} cameras are being recorded")
            before, figures = await contents(archive), await measure_rebuilds(archive, indexer, days, rounds)
            await live.wait_until_found()
        killed = await kill_half_way(archive, days)
        async with archive.indexer(**settings, **FAST_TAKEOVER_SETTINGS) as indexer:
            resumed = await indexer.wait_for_event("index rebuilt", REBUILD_TIMEOUT_S)
            await live.wait_until_found()
            counted = await live.stop_and_count()
            resumed_equal = await contents(archive) == before
            checked = await archive.run_check()
    assert resumed["objects"] < sum(days.values()), resumed
    return {
        "cameras": cameras,
        **figures,
        **killed,
        "objects_resumed": resumed["objects"],
        "resumed_equal": resumed_equal,
        "pictures": counted,
        "check": {name: checked[name] for name in ("objects", "indexed", "missing", "surplus")},
    }


async def run_all(archive: Archive, days: ObjectsByDay) -> dict[str, Any]:
    figures = await bench_without_recording(archive, days, ROUNDS)
    while_recording = await bench_while_recording(archive, days, RECORDED, FULL, ROUNDS)
    return {
        "segments": sum(days.values()),
        "camera_days": len(days),
        "alone": figures,
        "while_recording": while_recording,
        "district_minutes": {
            "alone": round(DISTRICT / figures["rebuild_s"] / 60),
            "while_recording": round(DISTRICT / while_recording["rebuild_s"] / 60),
        },
    }


async def main(results: Path | None, count: int, cameras: int = CAMERAS) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running(Path(home), cameras, retention_days=400, object_lock=False) as archive:
            end_us = time.time_ns() // 1000
            print_progress(f"stocked at {await put_segments(archive, count, end_us):.0f} a second")
            figures = await run_all(archive, days_of(archive, count, end_us))
    report.write_results(results, "rebuild", figures, {"cameras": cameras})
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.rebuild", description=__doc__)
    parser.add_argument("--results", type=Path, help="output folder")
    asyncio.run(main(parser.parse_args().results, int(os.environ.get("SEGMENTS", SEGMENTS))))
