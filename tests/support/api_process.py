"""The api in a process of its own, and an index and a store prepared by tests."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera
from districam_common.runtime.settings import S3Settings
from districam_common.s3.blobs import Blobs
from districam_devkit.servers import ports
from support.segment_objects import SegmentObject


@dataclass(frozen=True, slots=True)
class ApiProcess:
    """The process, its URL and its log."""

    process: subprocess.Popen[bytes]
    url: str
    health_url: str
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line.get("event") == name]

    def rss_bytes(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def api_running(
    s3: S3Settings, redis_url: str, log: Path, *, open_files: int | None = None, **settings: object
) -> AsyncGenerator[ApiProcess]:
    """Runs the api on a free port; `settings` are fields of block `api`, `open_files` its limit of open files."""
    port, health_port = ports.pick_free_ports(2)
    environment = service_environment(s3, redis_url) | {
        "DISTRICAM_API__PORT": str(port),
        "DISTRICAM_HEALTH__PORT": str(health_port),
        **{f"DISTRICAM_API__{name.upper()}": str(value) for name, value in settings.items()},
    }
    limited = ["prlimit", f"--nofile={open_files}:{open_files}"] if open_files else []
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*limited, sys.executable, "-m", "districam_api", "run"], env={**os.environ, **environment}, stderr=out
        )
    scheme = "https" if "tls_cert_file" in settings else "http"
    api = ApiProcess(process, f"{scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{health_port}", log)
    try:
        await _wait_until_responding(api)
        yield api
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 15) == 0, log.read_text()[-2000:]


async def _wait_until_responding(api: ApiProcess):
    async with asyncio.timeout(60), httpx.AsyncClient(verify=False) as http:  # noqa: S501  # only checks whether it is up
        while True:
            assert api.process.poll() is None, api.log.read_text()[-2000:]
            try:
                await http.get(f"{api.url}/v1/streams")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


def service_environment(s3: S3Settings, redis_url: str) -> dict[str, str]:
    assert s3.secret_key
    return {
        "DISTRICAM_S3__ENDPOINT": s3.endpoint,
        "DISTRICAM_S3__ACCESS_KEY": s3.access_key or "",
        "DISTRICAM_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
        "DISTRICAM_S3__BUCKET": s3.bucket,
        "DISTRICAM_S3__TIMEOUT_S": "3",
        "DISTRICAM_REDIS__URL": redis_url,
        "DISTRICAM_REDIS__TIMEOUT_S": "2",
        "DISTRICAM_LOG__FORMAT": "json",
    }


async def create_stocked_bucket(s3: S3Settings, made: Mapping[str, Iterable[SegmentObject]]):
    """Creates a bucket with these objects, by camera."""
    async with Blobs.open(s3) as blobs:
        await blobs.create_bucket(object_lock=False)
        marker = json.dumps({"site": "local", "created": "2026-11-24T00:00:00Z", "schema": 1}).encode()
        await put(blobs, names.SITE_MARKER, marker)
        for objects in made.values():
            for one in objects:
                await put(blobs, one.key, one.content)


async def put(blobs: Blobs, key: str, content: bytes):
    digest = hashlib.sha256(content).hexdigest()
    await blobs.put(key, [content], content_type="video/mp4", metadata={"sha256": digest}, sha256=digest, once=False)


async def populate_index(
    redis: Redis, cameras: Iterable[Camera], made: Mapping[str, Iterable[SegmentObject]], *, watermark_us: int
):
    """Writes an index of these cameras and segments, complete up to `watermark_us`."""
    for camera in cameras:
        await redis.zadd(names.camera_key(camera.camera_id), {wire.encode_json(camera): camera.updated_us})
        await redis.sadd(names.CAMERA_IDS, camera.camera_id)
    for camera_id, objects in made.items():
        for one in objects:
            start_us, end_us = one.entry.start_us, one.entry.end_us
            await redis.zadd(
                names.segments_key(camera_id, start_us), {segment_array.encode_member(one.entry): start_us}
            )
            for day_us, bits in names.slots(start_us, end_us):
                for bit in bits:
                    await redis.setbit(names.day_key(camera_id, day_us), bit, 1)
    for partition in range(60):
        await redis.hset(names.WATERMARKS, str(partition), str(watermark_us))
    meta = {"site": "local", "schema": "1", "partitions": "60", "state": "ready", "build": "b1"}
    for name, value in meta.items():
        await redis.hset(names.META, name, value)
