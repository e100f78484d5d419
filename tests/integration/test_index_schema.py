"""An upgrade with a new index schema: old and new versions run side by side without affecting each other's index."""
# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import Camera
from districam_common.runtime.settings import S3Settings
from integration.test_indexer import District, district, segments, until
from support.announcements import NOON_US
from support.api_process import api_running
from support.wait_until import wait_until_async

__all__ = ["district"]

pytestmark = [pytest.mark.timeout(120), pytest.mark.correctness]
NEWER = str(Path(__file__).parents[1] / "support" / "newer_schema")


def newer() -> dict[str, str]:
    """Environment that makes a process the newer version."""
    return {"PYTHONPATH": os.pathsep.join([NEWER, *filter(None, [os.environ.get("PYTHONPATH")])])}


async def test_two_schema_versions_are_built_side_by_side(district: District, s3: S3Settings, tmp_path: Path):
    stored = [await district.store(one) for one in segments(district.camera_id, 6)]
    camera = Camera(camera_id=district.camera_id, name="x", url="rtsp://10.0.0.1/1", updated_us=NOON_US)
    await district.publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))
    async with district.indexer() as old:
        await until(old.is_ready)
        await district.announce(stored[:3])
        before = await district.reader.meta()
        async with (
            api_running(s3, district.redis_url, tmp_path / "api.log") as api,
            httpx.AsyncClient(base_url=f"{api.url}/v1") as http,
        ):
            async with district.indexer(**newer()) as new:
                while not await new.is_ready():
                    assert (await http.get("/streams")).status_code == 200
                    assert await district.reader.meta() == before
                    await asyncio.sleep(0.2)
                await district.announce(stored[3:])
                assert await wait_until_async(lambda: _are_equal(district, 6))
                assert await old.is_ready()
                await new.stop_gracefully()
            assert (await http.get("/streams")).status_code == 200
        assert await district.reader.meta() == before
        code, output = await _forget(district, "1")
        assert (code, "rebuild" in output) == (3, True)
        async with district.indexer(**newer()) as new:
            await until(new.is_ready)
            code, output = await _forget(district, "2")
            assert (code, "stop them first" in output) == (1, True)
            await new.stop_gracefully()
        code, output = await _forget(district, "2")
        assert (code, await district.redis.keys("dc2:*")) == (0, []), output
        assert await district.reader.meta() == before
        assert len(await district.found()) == 6


async def _are_equal(district: District, count: int) -> bool:
    """Whether both indexes have the same `count` segments of this camera."""
    ours, theirs = [await _values(district, names.prefix_of(schema)) for schema in ("1", "2")]
    return ours == theirs and len(await district.found()) == count


async def _values(district: District, prefix: str) -> dict[str, bytes | None]:
    keys = [
        str(key, "utf-8") if isinstance(key, bytes) else key
        for key in await district.redis.keys(f"{prefix}*{district.camera_id}*")
    ]
    return {key.removeprefix(prefix): await district.redis.dump(key) for key in keys}


async def _forget(district: District, schema: str) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "districam_indexer", "forget", schema, env=district.environment(0),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(30):
        output, _ = await child.communicate()
    return child.returncode or 0, output.decode()


async def test_an_index_of_another_schema_under_our_prefix_is_not_touched(
    district: District, s3: S3Settings, tmp_path: Path
):
    fields = {"site": "local", "schema": "7", "partitions": 60, "state": "ready", "build": "b"}
    await district.redis.hset(names.META, mapping={**fields})
    await district.redis.sadd(names.CAMERA_IDS, "cam-1")
    async with district.indexer() as indexer, asyncio.timeout(30):
        assert await indexer.child.wait() == 3
    assert await district.redis.smembers(names.CAMERA_IDS) == {b"cam-1"}
    async with (
        api_running(s3, district.redis_url, tmp_path / "api.log") as api,
        httpx.AsyncClient(base_url=f"{api.url}/v1") as http,
    ):
        answer = await http.get("/streams")
        assert (answer.status_code, "schema '7'" in answer.json()["detail"]) == (503, True)
