"""Malicious cameras, recorded next to the others for a while, then deleted."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from districam_common.contract.fields import MAX_BANNER_CHARS
from districam_devkit.api_client import format_instant
from districam_devkit.pipeline import apply_cameras, run_command
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.simcam.process import running_simulator
from fault.scene import CLIP, SEGMENT_S, Scene

SEEN_S = 60
DECODING_SERVICES: tuple[str, ...] = ("api", "ingest")
SNAPSHOTS = 4
"""Concurrent snapshot requests, as a page of cameras sends them."""
MAX_GROWTH_KIB = 200 << 10
"""A picture of 8,192 by 4,320 needs 53 MiB for its planes alone, and a decoder holds several."""


async def banner(scene: Scene) -> None:
    """A camera with a name of 3,900 characters in `Server`, and one with a header of 60,000.

    Raises:
        AssertionError: the first is not recorded or its name not truncated, or the second has no event with its cause.
    """
    async with _recording(scene, ["banner", "headers"]):
        await _until(lambda: _has_profile(scene, "evil-banner"), "no profile of it")
        await _until(lambda: _is_lost(scene, "evil-headers", "stream_error"), "no stream_error for its header")
        await _until(lambda: _is_stored(scene, "evil-banner"), "it is not recorded")


async def exploding(scene: Scene) -> None:
    """Pictures of a hundred bytes that claim 8,192 by 4,320, requested as snapshots; and 16,000 by 16,000.

    Raises:
        AssertionError: other requests wait, or api or ingest decode in their own process.
    """
    before: dict[str, int] = {name: _rss_kib(scene, name) for name in DECODING_SERVICES}
    async with _recording(scene, ["vast", "exploding"]):
        await _until(lambda: _is_stored(scene, "evil-vast"), "it is not recorded")
        await _until(lambda: _is_lost(scene, "evil-exploding", "stream_error"), "no stream_error for its size")
        statuses = await _request_snapshots(scene, "evil-vast")
        if not statuses <= {200, 404, 503}:
            raise AssertionError(f"a snapshot was answered with {statuses}")
        for name, rss_kib in before.items():
            if _rss_kib(scene, name) - rss_kib > MAX_GROWTH_KIB:
                raise AssertionError(f"{name} has grown from {rss_kib} KiB to {_rss_kib(scene, name)} KiB")


@asynccontextmanager
async def _recording(scene: Scene, attacks: Sequence[str]) -> AsyncGenerator[None]:
    """A camera for each attack, attacking all the time, in a process of its own; removed at the block's end."""
    home, (port,) = scene.send_log.parent, pick_free_ports(1)
    names = [f"evil-{kind}" for kind in attacks]
    spec = home / "evil.json"
    cameras = [{"id": name, "clip": CLIP} for name in names]
    faults = [f"{kind}:{name}@0+3600" for kind, name in zip(attacks, names, strict=True)]
    spec.write_text(json.dumps({"cameras": cameras, "faults": faults}))
    environment = scene.servers.environment()
    records = [
        {
            "camera_id": name,
            "name": name,
            "url": f"rtsp://127.0.0.1:{port}/{name}",
            "segment_s": SEGMENT_S,
            "keyframe_interval_s": 1,
        }
        for name in names
    ]
    cache = Path(".devkit/clips").absolute()
    async with running_simulator(spec, port, home=home, cache=cache, name="evil"):
        await apply_cameras(home / "evil.yaml", records, environment)
        try:
            yield
        finally:
            for name in names:
                await run_command("districam_common.admin.cameras", "delete", name, environment=environment)
            await _until(lambda: _are_gone(scene, names), "they are still there")


# ---- conditions to wait for


async def _until(holds: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    try:
        async with asyncio.timeout(SEEN_S):
            while not await holds():
                await asyncio.sleep(0.25)
    except TimeoutError:
        raise AssertionError(otherwise) from None


async def _has_profile(scene: Scene, camera_id: str) -> bool:
    try:
        profile: dict[str, Any] | None = (await scene.api.json(f"/v1/cameras/{camera_id}"))["profile"]
    except httpx.HTTPStatusError:  # not indexed yet
        return False
    if profile is None:
        return False
    if len(profile["server"] or "") != MAX_BANNER_CHARS:
        raise AssertionError(f"it is shown with a name of {len(profile['server'] or '')} characters")
    return True


async def _is_lost(scene: Scene, camera_id: str, cause: str) -> bool:
    rows = await scene.api.streams()
    return any(row["camera_id"] == camera_id and row["cause"] == cause for row in rows)


async def _is_stored(scene: Scene, camera_id: str) -> bool:
    now_us = time.time_ns() // 1000
    try:
        return bool(await scene.api.segments(camera_id, now_us - 60_000_000, now_us))
    except httpx.HTTPStatusError:
        return False


async def _are_gone(scene: Scene, names: Sequence[str]) -> bool:
    return not {row["camera_id"] for row in await scene.api.streams()} & set(names)


async def _request_snapshots(scene: Scene, camera_id: str) -> set[int]:
    """Returns the statuses of concurrent snapshot requests, while another client's request is answered."""
    now_us = time.time_ns() // 1000
    newest = max(one.start_us for one in await scene.api.segments(camera_id, now_us - 60_000_000, now_us))
    path, query = f"/v1/cameras/{camera_id}/snapshot.jpg", {"at": format_instant(newest + 100_000)}
    async with httpx.AsyncClient(base_url=scene.pipeline.api_url, timeout=30) as http:
        asked = [asyncio.ensure_future(http.get(path, params=query)) for _ in range(SNAPSHOTS)]
        async with asyncio.timeout(5):
            await scene.api.streams()
        return {answer.status_code for answer in await asyncio.gather(*asked)}


def _rss_kib(scene: Scene, name: str) -> int:
    """Resident memory of the service's own process, without children."""
    status = Path(f"/proc/{scene.pipeline[name].child.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))
