"""Index faults: a Redis restored from an older state, and a version with another index schema."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx

from districam_common.contract import names, wire
from districam_common.contract.events import Camera
from districam_common.index.index_reader import IndexReader
from districam_common.kafka.producer import Publisher
from districam_common.runtime.settings import KafkaSettings, RedisSettings
from districam_devkit.api_client import ApiClient, open_api_client
from districam_devkit.pipeline import Service, run_command
from districam_devkit.servers.ports import pick_free_ports
from fault.scene import SEGMENT_S, Scene

CAMERA = "cam-001"
LOST_S = 1.0
CAUGHT_UP_S = 30
NEWER = Path(__file__).parents[1] / "support" / "newer_schema"
BUILT_S = 90
SIDE_BY_SIDE_S = 10


async def set_back(scene: Scene) -> None:
    """Simulates a power failure: Redis comes back without its last second of writes.

    In that second a camera's record changes.

    Raises:
        AssertionError: the index does not catch up.
    """
    folder = scene.send_log.parent / "redis"
    on_disk, kept = folder / "appendonlydir", folder / "kept"
    settings = RedisSettings(url=scene.servers.redis.url)
    async with IndexReader.open(settings) as index:
        last = (await index.revisions(CAMERA))[-1]
        changed = replace(last, revision=last.revision + 1, updated_us=last.updated_us + 1)
        await asyncio.to_thread(shutil.copytree, on_disk, kept)
        await asyncio.gather(asyncio.sleep(LOST_S), _publish(scene, changed))
        await _until(lambda: _knows(index, changed), "the record's change is not indexed")
    await scene.servers.redis.kill()
    await asyncio.to_thread(_put_back, kept, on_disk)
    await scene.servers.redis.restart()
    async with IndexReader.open(settings) as index:
        await _until(lambda: _knows(index, changed), "the record's change of the lost second never returns")


def _put_back(kept: Path, on_disk: Path) -> None:
    shutil.rmtree(on_disk)
    kept.rename(on_disk)


async def _publish(scene: Scene, camera: Camera) -> None:
    settings = KafkaSettings(bootstrap_servers=scene.servers.kafka.bootstrap_servers)
    async with Publisher.open(settings, "faults") as publisher:
        await publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))


async def _knows(index: IndexReader, camera: Camera) -> bool:
    return camera in await index.revisions(CAMERA)


async def _until(what: Callable[[], Awaitable[bool]], otherwise: str, within_s: float = CAUGHT_UP_S) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not await what():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(otherwise) from None


async def schemas_side_by_side(scene: Scene) -> None:
    """A rolling upgrade: indexer and api of the next schema next to ours while recording, then a rollback.

    Raises:
        AssertionError: our api has no answer, our index is rebuilt, or the two indexes differ.
    """
    (port,) = pick_free_ports(1)
    newer = {"PYTHONPATH": str(NEWER), "DISTRICAM_API__PORT": str(port)}
    began_us = time.time_ns() // 1000 - 10_000_000
    async with IndexReader.open(RedisSettings(url=scene.servers.redis.url)) as index:
        before = await index.meta()
        services = [await scene.pipeline.add_replica(name, newer) for name in ("indexer", "api")]
        try:
            await _until(lambda: _are_ready(scene, services), "the index of the next schema is not built", BUILT_S)
            await asyncio.sleep(SIDE_BY_SIDE_S)
            until_us = time.time_ns() // 1000 - 3 * SEGMENT_S * 1_000_000
            async with open_api_client(f"http://127.0.0.1:{port}") as theirs:
                await _until(lambda: _agree(scene, theirs, began_us, until_us), "the two indexes differ")
        finally:
            for service in reversed(services):
                await service.child.stop()
        await run_command("districam_indexer", "forget", "2", environment=scene.servers.environment())
        if before is None or await index.meta() != before:
            raise AssertionError("our index was rebuilt")


async def _are_ready(scene: Scene, services: list[Service]) -> bool:
    """Whether all are ready; our api must answer throughout."""
    await scene.api.json("/v1/streams")
    async with httpx.AsyncClient(timeout=5) as http:
        answers = [await http.get(f"{one.health_url}/readyz") for one in services]
    return all(answer.status_code == 200 for answer in answers)


async def _agree(scene: Scene, theirs: ApiClient, from_us: int, to_us: int) -> bool:
    for row in (await scene.api.json("/v1/streams"))["streams"]:
        ours = await scene.api.segments(row["camera_id"], from_us, to_us)
        if not ours or [one.key for one in ours] != [
            one.key for one in await theirs.segments(row["camera_id"], from_us, to_us)
        ]:
            return False
    return True
