"""A store, an index and an api with an hour of footage, for benchmarks."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import Redis

from districam_common.contract.events import Camera
from districam_common.runtime.settings import S3Settings
from districam_common.s3.blobs import Blobs
from districam_devkit.servers import seaweedfs, valkey
from districam_devkit.simcam.clips import Generated
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index, put
from support.numbered_footage import NumberedFootage, make_numbered_segments, open_footage
from support.segment_objects import SegmentObject

S = 1_000_000
FPS = 25
SEGMENT_S = 10
EPOCH = "01900000-0000-7000-8000-0000000000bb"
FOOTAGE = Generated(width=640, height=360, bitrate=2_550_000)
"""The encoder stays below its target: the result is 1.7 Mbit/s."""


@dataclass(frozen=True, slots=True)
class Site:
    """The api, the store and its process; `camera_id` has these objects of `bytes` from `start_us` to `end_us`."""

    api: ApiProcess
    store: int
    s3: S3Settings
    camera_id: str
    start_us: int
    end_us: int
    keys: Sequence[str]
    bytes: int


@asynccontextmanager
async def running(home: Path, cameras: Sequence[Camera], *, minutes: int) -> AsyncGenerator[Site]:
    """The first of `cameras` has `minutes` of footage, the others none."""
    now_us = time.time_ns() // 1000
    start_us = (now_us - minutes * 60 * S) // (60 * S) * 60 * S - 600 * S
    end_us = start_us + minutes * 60 * S
    first = replace(cameras[0], updated_us=start_us - 3600 * S)
    known = [first, *(replace(camera, updated_us=start_us - 3600 * S) for camera in cameras[1:])]
    async with (
        seaweedfs.running(home / "s3", log_dir=home) as store,
        valkey.running(home / "redis", log_dir=home) as server,
        Redis.from_url(server.url) as redis,
    ):
        s3 = S3Settings(
            endpoint=store.url, access_key=store.access_key, secret_key=SecretStr(store.secret_key), bucket="bench"
        )
        made = await _stock_objects(s3, open_footage(first.camera_id, start_us, FOOTAGE), minutes)
        await populate_index(redis, known, {first.camera_id: made}, watermark_us=now_us)
        async with api_running(s3, server.url, home / "api.log") as api:
            size = sum(one.entry.bytes - one.entry.init_bytes for one in made)
            assert store.pid is not None
            yield Site(api, store.pid, s3, first.camera_id, start_us, end_us, [one.key for one in made], size)


async def _stock_objects(s3: S3Settings, footage: NumberedFootage, minutes: int) -> list[SegmentObject]:
    """Stores the objects; their contents are not kept."""
    await create_stocked_bucket(s3, {})
    numbers = range(0, minutes * 60 * FPS, SEGMENT_S * FPS)
    async with Blobs.open(s3) as blobs:
        return [await _put(blobs, footage, number) for number in numbers]


async def _put(blobs: Blobs, footage: NumberedFootage, number: int) -> SegmentObject:
    first_seq = number // FPS
    made = await asyncio.to_thread(
        make_numbered_segments, footage, EPOCH, range(number, number + SEGMENT_S * FPS), first_seq=first_seq
    )
    (one,) = made
    await put(blobs, one.key, one.content)
    return replace(one, content=b"")
