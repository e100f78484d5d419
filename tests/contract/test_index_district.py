"""Queries for all cameras, on a real Valkey: few round trips, and the event loop is never blocked."""
# Redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from districam_api.footage import FootageReader
from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, Refused
from districam_common.contract.segment_array import IndexEntry
from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_client import open_redis
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.settings import RedisSettings
from districam_devkit.servers import valkey
from support.announcements import EPOCHS, S

CAMERAS = 300


@pytest_asyncio.fixture
async def redis(tmp_path: Path) -> AsyncGenerator[Redis]:
    async with (
        valkey.running(tmp_path, log_dir=tmp_path) as server,
        open_redis(RedisSettings(url=server.url)) as client,
    ):
        yield client


async def fill(redis: Redis, cameras: int, now_us: int) -> None:
    """Each camera's newest segment is 40 s long and ended 50 s ago: its length decides whether the next one is late."""
    meta = {"site": "here", "schema": "1", "partitions": "60", "state": "ready", "build": "one"}
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hset(names.META, mapping={**meta})
        for n in range(cameras):
            camera = Camera(camera_id=f"cam-{n:05}", name="Cổng", url="rtsp://10.0.0.1/1", updated_us=1)
            end_us = now_us - 50 * S
            entry = IndexEntry(
                epoch=EPOCHS[0], first_seq=0, last_seq=1, start_us=end_us - 40 * S, end_us=end_us, bytes=1, init_bytes=1, flags=1,
            )  # fmt: skip
            pipe.sadd(names.CAMERA_IDS, camera.camera_id)
            pipe.zadd(names.camera_key(camera.camera_id), {wire.encode_json(camera): 1})
            pipe.zadd(names.LATEST, {camera.camera_id: end_us})
            pipe.zadd(
                names.segments_key(camera.camera_id, entry.start_us),
                {segment_array.encode_member(entry): entry.start_us},
            )
        await pipe.execute()


@pytest.mark.correctness
async def test_many_late_cameras_are_read_in_a_few_round_trips(redis: Redis, monkeypatch: pytest.MonkeyPatch):
    await fill(redis, CAMERAS, SystemClock().now_us())
    trips = 0
    execute = Pipeline.execute

    async def counted(self: Pipeline, *given: bool) -> object:
        nonlocal trips
        trips += 1
        return await execute(self, *given)

    monkeypatch.setattr(Pipeline, "execute", counted)
    found = await FootageReader(IndexReader(redis), SystemClock(), 75 * S).healths()
    assert [one.camera.camera_id for one in found] == [f"cam-{n:05}" for n in range(CAMERAS)]
    assert {one.state for one in found} == {"recording"}, "a segment of 40 s is followed by another one for 55 s"
    assert trips < 12, "each late camera takes its own round trip"


async def test_the_newest_segments_duration_is_found_across_two_hours(redis: Redis):
    hour_us = 500_000 * names.HOUR_US
    spans = [
        (hour_us - 90 * S, hour_us + 20 * S),
        (hour_us - 20 * S, hour_us - 10 * S),
        (hour_us + 5 * S, hour_us + 20 * S),
    ]
    for n, (start_us, end_us) in enumerate(spans):
        entry = IndexEntry(
            epoch=EPOCHS[n], first_seq=0, last_seq=1, start_us=start_us, end_us=end_us, bytes=1, init_bytes=1, flags=1
        )
        await redis.zadd(names.segments_key("a", start_us), {segment_array.encode_member(entry): start_us})
    reader = IndexReader(redis)
    assert await reader.last_segment_durations_us({"a": hour_us + 20 * S, "b": hour_us}) == {"a": 110 * S, "b": 0}
    assert await reader.last_segment_durations_us({"a": hour_us - 10 * S}) == {"a": 110 * S}
    assert await reader.last_segment_durations_us({}) == {}


@pytest.mark.correctness
async def test_more_cameras_than_the_cache_holds_do_not_slow_down_suddenly(redis: Redis):
    """The last 64 events of 2,600 cameras are 166,400; an LRU cache of 131,072 would have no hits at all."""
    cameras, at_us = [f"cam-{n:05}" for n in range(2600)], 1_790_000_000_000_000
    for camera_id in cameras:
        told = [
            Refused(camera_id=camera_id, at_us=at_us + n * S, instance="i", cause="not_found", detail="", next_retry_s=1.0)
            for n in range(64)
        ]  # fmt: skip
        await redis.zadd(names.events_key(camera_id), {wire.encode_indexed_event(one, 0): one.at_us for one in told})
    reader = IndexReader(redis)
    times: list[float] = []
    for _ in range(4):
        began_s = time.process_time()
        found = await reader.recent_events(cameras, at_us + 100 * S)
        assert {len(told) for told in found.values()} == {1}
        times.append(time.process_time() - began_s)
    assert min(times[1:]) < times[0] / 4, times
