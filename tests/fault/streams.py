"""Changes of cameras' records while they are recorded."""

import asyncio
import json

from districam_devkit.pipeline import apply_cameras
from fault.scene import Scene

TAKEN_UP_S = 30
FOLLOWS_S = 3
"""Ingest reads the cameras' topic itself, twice a second."""


async def regrouped(scene: Scene) -> None:
    """Gives every camera another name and group."""
    await _changed(scene, groups=["gates"])


async def restilled(scene: Scene, every_s: int = 5) -> None:
    """Changes the interval of every camera's stills, which restarts every stream."""
    await _changed(scene, groups=[f"restilled-{every_s}"], keyframe_interval_s=every_s)


async def _changed(scene: Scene, *, groups: list[str], **fields: object) -> None:
    """Publishes the change; returns once it is applied."""
    file = scene.send_log.with_name("cameras.yaml")
    before = json.loads(await asyncio.to_thread(file.read_text))["cameras"]
    records = [record | {"name": f"{record['name']} at the gates", "groups": groups} | fields for record in before]
    await apply_cameras(file, records, scene.servers.environment())
    async with asyncio.timeout(TAKEN_UP_S):
        while not await _all_have(scene, groups):
            await asyncio.sleep(0.2)
    await asyncio.sleep(FOLLOWS_S)


async def _all_have(scene: Scene, groups: list[str]) -> bool:
    answer = await scene.api.json("/v1/cameras")
    return all(one["groups"] == groups for one in answer["cameras"])
