"""A bucket full of small objects with segment keys, and an indexer over it as a process."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_common.contract import names, wire
from districam_common.contract.events import Camera
from districam_common.contract.names import HOUR_US
from districam_common.contract.segment_array import IndexEntry
from districam_common.kafka import topics
from districam_common.kafka.connection import open_admin_client
from districam_common.kafka.producer import Publisher
from districam_common.runtime.settings import KafkaSettings, S3Settings, TopicsSettings
from districam_common.s3.versioned_bucket import VersionedBucket
from districam_devkit.servers import kafka, ports, seaweedfs, valkey
from support.api_process import service_environment

S = 1_000_000
BODY = b"a segment"
STOP_S = 15
CHECK_TIMEOUT_S = 600
_CONCURRENCY = 16


@dataclass(frozen=True, slots=True)
class Archive:
    """Running servers and the archive's contents."""

    home: Path
    kafka: KafkaSettings
    s3: S3Settings
    bucket: VersionedBucket
    redis: Redis
    redis_url: str
    camera_ids: list[str]

    def environment(self) -> dict[str, str]:
        """The services' settings for these servers."""
        return {
            **service_environment(self.s3, self.redis_url),
            "DISTRICAM_S3__TIMEOUT_S": "15",
            "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "DISTRICAM_KAFKA__SESSION_TIMEOUT_S": "6",
        }

    async def run_check(self) -> dict[str, Any]:
        """Returns the result of `districam-indexer check`; raises if index and bucket differ."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "districam_indexer", "check"),
            env={**os.environ, **self.environment()},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            out, stderr = await child.communicate()
        assert child.returncode == 0, (out[-2000:], stderr[-2000:])
        return json.loads(out.splitlines()[-1])

    @asynccontextmanager
    async def indexer(self, **settings: str) -> AsyncGenerator["Indexer"]:
        """Runs an indexer; stops it at the end of the block, and kills it if it does not stop in time."""
        (port,) = ports.pick_free_ports(1)
        environment = {**os.environ, **self.environment(), "DISTRICAM_HEALTH__PORT": str(port), **settings}
        log = self.home / f"indexer-{port}.log"
        with log.open("wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "districam_indexer"], env=environment, stdout=out, stderr=out
            )
        running = Indexer(child, port, log)
        try:
            yield running
        finally:
            await running.stop()


@dataclass(frozen=True, slots=True)
class Indexer:
    """An indexer process and its log."""

    child: subprocess.Popen[bytes]
    port: int
    log: Path

    async def stop(self) -> None:
        """Stops it gracefully, so that its consumer group does not wait for the session timeout."""
        self.child.terminate()
        try:
            await asyncio.to_thread(self.child.wait, STOP_S)
        except subprocess.TimeoutExpired:
            await self.kill()

    async def kill(self) -> None:
        """Sends SIGKILL; returns when it has ended."""
        self.child.kill()
        await asyncio.to_thread(self.child.wait, STOP_S)

    def log_events(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line.get("event") == event]

    async def wait_for_event(self, event: str, timeout_s: float, *, count: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            while len(self.log_events(event)) < count:
                assert self.child.poll() is None, self.log.read_text()[-2000:]
                await asyncio.sleep(0.1)
        return self.log_events(event)[-1]

    async def metric(self, name: str) -> float:
        async with httpx.AsyncClient(timeout=5) as http:
            text = (await http.get(f"http://127.0.0.1:{self.port}/metrics")).text
        return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


@asynccontextmanager
async def running(home: Path, cameras: int, *, retention_days: int, object_lock: bool) -> AsyncGenerator[Archive]:
    """Yields an archive without objects, with records of disabled cameras."""
    async with (
        kafka.running(home / "kafka", log_dir=home) as broker,
        seaweedfs.running(home / "s3", log_dir=home) as store,
        valkey.running(home / "redis", log_dir=home) as server,
        Redis.from_url(server.url) as redis,
    ):
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        s3 = S3Settings(
            endpoint=store.url, access_key=store.access_key, secret_key=SecretStr(store.secret_key), bucket="bench", threads=_CONCURRENCY
        )  # fmt: skip
        ids = [f"cam-{n:03}" for n in range(cameras)]
        await make_topics(settings)
        async with VersionedBucket.open(s3) as bucket, Publisher.open(settings, "bench") as publisher:
            await bucket.create_bucket(object_lock=object_lock)
            await put(bucket, names.SITE_MARKER, json.dumps({"site": "local", "created": "", "schema": 1}).encode())
            for one in ids:
                record = Camera(
                    camera_id=one,
                    name=one,
                    url="rtsp://10.0.0.1/1",
                    enabled=False,
                    retention_days=retention_days,
                    updated_us=1,
                )
                await publisher.publish(names.CAMERAS, wire.camera_message(record, site="local"))
            yield Archive(home, settings, s3, bucket, redis, server.url, ids)


async def make_topics(settings: KafkaSettings) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it warns about partitions that are being created
    wanted = topics.declared_topics(TopicsSettings())
    async with open_admin_client(settings, "bench") as admin:
        found = await topics.describe_topics(admin, wanted, 20)
        await topics.apply(admin, topics.plan(wanted, found), found, 60)


async def put(bucket: VersionedBucket, key: str, body: bytes) -> None:
    shape = {"codecs": "avc1.640028", "width": "1920", "height": "1080"}
    digest = hashlib.sha256(body).hexdigest()
    await bucket.put(key, [body], content_type="video/mp4", metadata=shape, sha256=digest, once=False)


def keys(camera_ids: list[str], count: int, end_us: int) -> Iterator[str]:
    """Keys of `count` segments that end by `end_us`: the same hours for each camera, an epoch every four hours."""
    each = -(-count // len(camera_ids))
    for n in range(count):
        camera, number = divmod(n, each)
        start_us = (end_us // HOUR_US * HOUR_US) - (each - number) * 10 * S
        epoch, seq = divmod(number, 1440)
        entry = IndexEntry(
            epoch=str(uuid.UUID(int=(camera << 64) + epoch + (0x7000 << 64))), first_seq=seq * 5, last_seq=seq * 5 + 4,
            start_us=start_us, end_us=start_us + 10 * S, bytes=len(BODY), init_bytes=4, flags=1,
        )  # fmt: skip
        yield names.segment_object_key(camera_ids[camera], entry)


async def put_segments(archive: Archive, count: int, end_us: int) -> float:
    """Puts `count` segments; returns the rate per second."""
    left, began_s = keys(archive.camera_ids, count, end_us), time.monotonic()

    async def work() -> None:
        for key in left:
            await put(archive.bucket, key, BODY)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CONCURRENCY):
            tasks.create_task(work())
    return count / (time.monotonic() - began_s)


def print_progress(line: str) -> None:
    """Prints progress to standard error."""
    print(line, file=sys.stderr, flush=True)
