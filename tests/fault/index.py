"""What befalls the index: a Redis that comes back as it was a moment ago."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from districam_common import names, wire
from districam_common.events import Camera
from districam_common.index_reader import IndexReader
from districam_common.kafka.producer import Publisher
from districam_common.settings import KafkaSettings, RedisSettings
from fault.scene import Scene

CAMERA = "cam-001"
LOST_S = 1.0
CAUGHT_UP_S = 30


async def set_back(scene: Scene) -> None:
    """A host that loses its power: Redis comes back with what its disk had, without the last second.

    In that second a camera's record changes.

    Raises:
        AssertionError: the index comes to know no more than Redis came back with.
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
    await scene.servers.redis.start_again()
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


async def _until(what: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    try:
        async with asyncio.timeout(CAUGHT_UP_S):
            while not await what():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(otherwise) from None
