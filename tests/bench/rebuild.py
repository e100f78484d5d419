"""`python -m bench.rebuild`: Redis emptied over a bucket of 200,000 small objects (SEGMENTS of others). The last line is JSON.

Against a bare LIST of the same bucket by the same client, in parallel alike; then killed half way and gone on with. All of
it a second time while four cameras are recorded into the same bucket, whose every picture is counted.
"""

# Redis-py's types are partial:
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
from bench.archive import Archive, Indexer, keys, running, say, stock
from bench.recording import FULL, recording
from districam_common.contract import index, names
from districam_common.ledger.cover import segment_cover
from districam_common.runtime.settings import S3Settings
from districam_devkit.pipeline import SETTLED_SOON
from districam_indexer.index_state import rebuilt_key

SEGMENTS = 200_000
CAMERAS = 20
RECORDED = 4
ROUNDS = 3
DISTRICT = 26_438_400
"""30 days of 102 cameras."""
TAKES_OVER = {"DISTRICAM_INDEXER__REBUILD_LOCK_S": "3"}
"""So that nobody waits for half a minute for one who is dead."""
TRIES = 5
REBUILT_S = 900.0

Days = Mapping[str, int]
"""How many objects there are of each day of a camera, by its prefix."""


def days_of(archive: Archive, count: int, end_us: int) -> Days:
    """What `stock` puts there."""
    return Counter("{}/{}/".format(*key.split("/")[:2]) for key in keys(archive.camera_ids, count, end_us))


async def listed(archive: Archive, days: Days) -> float:
    """Objects a second of a bare LIST, a day of a camera each, as many at once as the rebuild does."""
    left, count, began_s = deque(days), 0, time.monotonic()

    async def work() -> None:
        nonlocal count
        while left:
            async for page in archive.vault.pages(left.popleft()):
                count += len(page)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(S3Settings().threads):
            tasks.create_task(work())
    assert count == sum(days.values()), count
    return count / (time.monotonic() - began_s)


async def contents(archive: Archive) -> str:
    """A digest of all that is indexed of the archive's cameras, sorted; and of the cover of each of their hours."""
    digest = hashlib.sha256()
    for kind in ("seg", "day", "epoch"):
        for key in sorted(cast("list[bytes]", await archive.redis.keys(f"dc1:{kind}:cam-*"))):
            match kind:
                case "seg":
                    value: Any = await archive.redis.zrange(key, 0, -1, withscores=True)
                    hour = index.segments([member for member, _ in value], [at_us for _, at_us in value])
                    value = (value, segment_cover(hour))
                case "epoch":
                    value = sorted((await archive.redis.hgetall(key)).items())
                case _:
                    value = await archive.redis.get(key)
            digest.update(repr((key, value)).encode())
    return digest.hexdigest()


async def rebuilt(archive: Archive, indexer: Indexer, days: Days, rounds: int) -> dict[str, Any]:
    """Empties Redis under an indexer, so many times, between one LIST and the next; medians, and whether all was the same."""
    before, lists = await contents(archive), [await listed(archive, days)]
    rates: list[float] = []
    wholes: list[float] = []
    are_equal: list[bool] = []
    done = len(indexer.said("index rebuilt"))
    for number in range(1, rounds + 1):
        await archive.redis.flushall()
        began_s = time.monotonic()
        built = await indexer.waits_for("index rebuilt", REBUILT_S, count=done + number)
        wholes.append(time.monotonic() - began_s)
        rates.append(built["objects_s"])
        lists.append(await listed(archive, days))
        say(f"rebuilt at {rates[-1]} a second, LIST at {lists[-1]:.0f}, {wholes[-1]:.1f} s in all")
        are_equal.append(await contents(archive) == before)
    return {
        "list_s": round(median(lists)),
        "rebuild_s": round(median(rates)),
        "ratio": round(
            median(rate * 2 / (a + b) for rate, (a, b) in zip(rates, pairwise(lists), strict=True)), 2
        ),
        "whole_s": round(median(wholes), 1),
        "equal": all(are_equal),
    }


async def killed_half_way(archive: Archive, days: Days) -> dict[str, int]:
    """Empties Redis, and kills who rebuilds when half of the days are noted as read; how many days and objects were.

    It may have been done before it was seen half way: then it is tried again.
    """
    for _ in range(TRIES):
        await archive.redis.flushall()
        async with archive.indexer(**TAKES_OVER) as indexer:
            await _until_noted(archive, len(days) // 2)
            await indexer.kill()
        build, state = await _built(archive)
        noted = await _noted(archive, build)
        if state == b"rebuilding" and noted & days.keys():
            return {"days_noted": len(noted), "objects_noted": sum(days.get(one, 0) for one in noted)}
        say("it was done before it was killed: again")
    raise AssertionError(f"killed too late {TRIES} times")


async def _until_noted(archive: Archive, count: int) -> None:
    async with asyncio.timeout(REBUILT_S):
        while True:
            build, state = await _built(archive)
            if state == b"ready" or (build and len(await _noted(archive, build)) >= count):
                return
            await asyncio.sleep(0.001)


async def _built(archive: Archive) -> tuple[str, bytes | None]:
    """Which index is there or under way, and its state."""
    build, state = cast("list[bytes | None]", await archive.redis.hmget(names.META, ["build", "state"]))
    return (build or b"").decode(), state


async def _noted(archive: Archive, build: str) -> set[str]:
    return {one.decode() for one in cast("set[bytes]", await archive.redis.smembers(rebuilt_key(build)))}


async def alone(archive: Archive, days: Days, rounds: int = 1) -> dict[str, Any]:
    """Nothing else is stored meanwhile."""
    count = sum(days.values())
    async with archive.indexer() as indexer:
        first = await indexer.waits_for("index rebuilt", REBUILT_S)
        assert first["objects"] == count, first
        before, figures = await contents(archive), await rebuilt(archive, indexer, days, rounds)
    killed = await killed_half_way(archive, days)
    async with archive.indexer(**TAKES_OVER) as indexer:
        resumed = await indexer.waits_for("index rebuilt", REBUILT_S)
    assert killed["objects_noted"] + resumed["objects"] == count, (killed, resumed)
    resumed_equal = await contents(archive) == before
    return {**figures, **killed, "objects_resumed": resumed["objects"], "resumed_equal": resumed_equal}


async def while_recording(
    archive: Archive, days: Days, cameras: int, clip: Mapping[str, object], rounds: int = 1
) -> dict[str, Any]:
    """The same beside cameras: what was recorded of them before it, meanwhile and afterwards is accounted for."""
    settings = {"DISTRICAM_INDEXER__SETTLE_S": SETTLED_SOON["DISTRICAM_INDEXER__SETTLE_S"]}
    async with recording(archive, cameras, clip) as live:
        async with archive.indexer(**settings) as indexer:
            await live.found()
            say(f"{cameras} cameras are being recorded")
            before, figures = await contents(archive), await rebuilt(archive, indexer, days, rounds)
            await live.found()
        killed = await killed_half_way(archive, days)
        async with archive.indexer(**settings, **TAKES_OVER) as indexer:
            resumed = await indexer.waits_for("index rebuilt", REBUILT_S)
            await live.found()
            counted = await live.ended()
            resumed_equal = await contents(archive) == before
            checked = await archive.checked()
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


async def measured(archive: Archive, days: Days) -> dict[str, Any]:
    figures = await alone(archive, days, ROUNDS)
    beside = await while_recording(archive, days, RECORDED, FULL, ROUNDS)
    return {
        "segments": sum(days.values()),
        "camera_days": len(days),
        "alone": figures,
        "while_recording": beside,
        "district_minutes": {
            "alone": round(DISTRICT / figures["rebuild_s"] / 60),
            "while_recording": round(DISTRICT / beside["rebuild_s"] / 60),
        },
    }


async def main(results: Path | None, count: int, cameras: int = CAMERAS) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running(Path(home), cameras, retention_days=400, object_lock=False) as archive:
            end_us = time.time_ns() // 1000
            say(f"stocked at {await stock(archive, count, end_us):.0f} a second")
            figures = await measured(archive, days_of(archive, count, end_us))
    report.written(results, "rebuild", figures, {"cameras": cameras})
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.rebuild", description=__doc__)
    parser.add_argument("--results", type=Path, help="a folder to write to")
    asyncio.run(main(parser.parse_args().results, int(os.environ.get("SEGMENTS", SEGMENTS))))
