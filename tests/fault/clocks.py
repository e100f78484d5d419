"""Clock faults: a suspended machine, a host that starts hours ahead, one of three brokers with a wrong clock."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

from fault.scene import Scene, set_off

AHEAD_S = 7 * 3600
"""A machine in Vietnam whose hardware clock runs on local time, until NTP sets it."""
MINUTE_S = 60
SOON_S = 30


async def paused(scene: Scene, for_s: int, stepped_s: int = 0) -> None:
    """Suspends ingest's machine and monotonic clock; the wall clock is then right, or `stepped_s` ahead for 30 s."""
    ingest, clocks = scene.pipeline["ingest"].child, scene.clocks
    ingest.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(for_s)
        clocks.ingest_suspended.write_text(
            str(for_s + int(clocks.ingest_suspended.read_text() if clocks.ingest_suspended.exists() else 0))
        )
        clocks.ingest.write_text(str(stepped_s))
    finally:
        ingest.signal(signal.SIGCONT)
    if stepped_s:
        await asyncio.sleep(30)
        clocks.ingest.write_text("0")


async def starts_ahead(scene: Scene) -> None:
    """Ingest starts seven hours ahead, cameras disconnect and reconnect, and after a minute the clock is set.

    Raises:
        AssertionError: a stream's state is wrong, or footage has timestamps in the future.
    """
    ingest = scene.pipeline["ingest"].child
    await ingest.kill()
    scene.clocks.ingest.write_text(str(AHEAD_S))
    await ingest.start()
    began_s = time.monotonic()
    await _until(scene, lambda row: row["state"] == "recording", "not all are recorded")
    scene.proxies.cameras.refuse()
    await _until(
        scene, lambda row: row["state"] != "recording" or not _drops(row), "a disconnected camera still reads recording"
    )
    scene.proxies.cameras.heal()
    await asyncio.sleep(max(0.0, MINUTE_S - (time.monotonic() - began_s)))
    scene.clocks.ingest.write_text("0")
    await _nothing_ahead(scene)


def _drops(row: dict[str, Any]) -> bool:
    """Whether the camera is one of those behind the proxy."""
    return int(row["camera_id"].removeprefix("cam-")) % 2 == 0


async def _until(scene: Scene, holds: Callable[[dict[str, Any]], bool], otherwise: str) -> None:
    try:
        async with asyncio.timeout(SOON_S):
            while not all(holds(row) for row in await _streams(scene)):
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"{otherwise}: {await _streams(scene)}") from None


async def _streams(scene: Scene) -> list[dict[str, Any]]:
    return (await scene.api.json("/v1/streams"))["streams"]


async def _nothing_ahead(scene: Scene) -> None:
    now_us = time.time_ns() // 1000
    for row in await _streams(scene):
        camera_id = row["camera_id"]
        found = await scene.api.segments(camera_id, now_us + MINUTE_S * 1_000_000, now_us + 10 * 3_600_000_000)
        if found:
            raise AssertionError(f"{camera_id} has footage in the future: {found[:2]}")
    last_end_s = await scene.pipeline["indexer"].metric("districam_last_segment_end_timestamp_seconds")
    if max(last_end_s.values()) > time.time():
        raise AssertionError(f"the newest segments end in the future: {last_end_s}")


async def broker_off(scene: Scene, by_s: float) -> None:
    """Sets the third broker's clock wrong for half a minute.

    Raises:
        AssertionError: ingest did not notice.
    """
    set_off(scene.clocks, by_s)
    try:
        await asyncio.sleep(30)
        last_end_s = await scene.pipeline["ingest"].metric("districam_ingest_broker_clock_apart_seconds")
        off = {name: apart for name, apart in last_end_s.items() if abs(apart) > abs(by_s) / 2}
        if len(off) != 1:
            raise AssertionError(f"one broker is {by_s} s off, but ingest reports {last_end_s}")
    finally:
        set_off(scene.clocks, 0)
