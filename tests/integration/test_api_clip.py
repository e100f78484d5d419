"""Clips of real objects: every picture once, in order, at its time, decoded without warnings."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_common.contract.events import Camera
from districam_common.contract.names import format_rfc3339, parse_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit import bitstream
from districam_devkit.servers import Servers, valkey
from districam_devkit.simcam.clips import Generated
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.numbered_footage import PaddedFootage, make_numbered_segments, open_footage
from support.segment_objects import SegmentObject
from support.slow_client import SlowClient

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

S = 1_000_000
FRAME_US = 40_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S - 30 * S
EPOCHS = [f"01900000-0000-7000-8000-00000000000{n}" for n in range(9)]

AVC = open_footage("avc", START_US, Generated(width=320, height=180, bitrate=300_000, label="AVC"))
HEVC = open_footage("hevc", START_US, Generated(codec="hevc", width=320, height=180, bitrate=300_000, b_frames=2))
SMALL = open_footage("sizes", START_US, Generated(width=320, height=180, bitrate=300_000, label="AVC"))
LARGE = open_footage("sizes", START_US, Generated(width=640, height=360, bitrate=300_000, label="AVC"))
PLACES = 2


LARGE_S = 30
"""25 MB, more than a connection's buffers hold."""
LARGEST = PaddedFootage("large", SMALL.clip, START_US)
MADE: dict[str, list[SegmentObject]] = {
    "large": make_numbered_segments(LARGEST, EPOCHS[8], range(LARGE_S * 25)),
    # 20 s, a gap of 10 s, 30 s; the next replica also has its last 15 s (37 ms later)
    "avc": [
        *make_numbered_segments(AVC, EPOCHS[1], range(500)),
        *make_numbered_segments(AVC, EPOCHS[2], range(750, 1500)),
        *make_numbered_segments(AVC, EPOCHS[3], range(1100, 2000), shift_us=37_000),
    ],
    "hevc": [
        *make_numbered_segments(HEVC, EPOCHS[4], range(500)),
        *make_numbered_segments(HEVC, EPOCHS[5], range(450, 1000), shift_us=-21_000),
    ],
    "sizes": [
        *make_numbered_segments(SMALL, EPOCHS[6], range(500)),
        *make_numbered_segments(LARGE, EPOCHS[7], range(500, 1000)),
    ],
}  # fmt: skip
CAMERAS = [
    Camera(camera_id=name, name=name, url=f"rtsp://10.0.0.1/{name}", updated_us=START_US - 3600 * S) for name in MADE
]


def at(seconds: float) -> str:
    return format_rfc3339(START_US + round(seconds * S))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiProcess]:
    home = tmp_path_factory.mktemp("api-clip")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-clip-{NOW_US}",
    )
    await create_stocked_bucket(s3, MADE)
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, CAMERAS, MADE, watermark_us=NOW_US)
        async with api_running(s3, server.url, home / "api.log", clips_at_once=PLACES) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http(api: ApiProcess) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        yield client


async def clip(http: httpx.AsyncClient, camera: str, from_s: float, to_s: float) -> httpx.Response:
    window = {"from": at(from_s), "to": at(to_s)}
    return await http.get(f"/v1/cameras/{camera}/clip.mp4", params=window)


def numbers(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text[:500]
    return [picture.number for picture in bitstream.parse_stored_pictures(response.content)]


def bounds_us(response: httpx.Response) -> tuple[int, int]:
    return parse_rfc3339(response.headers["districam-from"]), parse_rfc3339(response.headers["districam-to"])


def plays_in_silence(file: Path) -> float:
    """Asserts that ffmpeg decodes it without output; returns its duration in s."""
    words = ["ffmpeg", "-nostdin", "-v", "warning", "-xerror", "-i", str(file), "-f", "null", "-"]
    decoded = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (decoded.returncode, decoded.stdout + decoded.stderr) == (0, "")
    words = ["ffprobe", "-v", "warning", "-of", "json", "-show_entries", "format=duration:packet=dts_time,pts_time"]
    probe = subprocess.run([*words, str(file)], capture_output=True, text=True, check=True, timeout=60)
    assert probe.stderr == ""
    shown: dict[str, Any] = json.loads(probe.stdout)
    times = [float(packet["dts_time"]) for packet in shown["packets"]]
    assert times == sorted(set(times))
    assert times[0] == 0
    return float(shown["format"]["duration"])


async def test_a_clip_over_a_gap_and_a_handover_has_each_picture_once(http: httpx.AsyncClient, tmp_path: Path):
    response = await clip(http, "avc", -5, 90)
    assert numbers(response) == [*range(500), *range(750, 2000)]
    from_us, to_us = bounds_us(response)
    assert from_us == START_US
    assert abs(to_us - START_US - 80 * S) <= FRAME_US
    assert response.headers["districam-recorded-seconds"] == "70.037000"
    assert response.headers["content-type"] == "video/mp4"
    file = tmp_path / "clip.mp4"
    file.write_bytes(response.content)
    length_s = await asyncio.to_thread(plays_in_silence, file)
    assert abs(length_s * 1e6 - (to_us - from_us)) <= FRAME_US


async def test_a_clip_keeps_the_duration_of_gaps(http: httpx.AsyncClient):
    response = await clip(http, "avc", -5, 90)
    pictures = bitstream.parse_stored_pictures(response.content)
    off_us = [abs(p.dts * 100 // 9 - (p.sent_us - START_US)) for p in pictures]
    assert max(off_us) <= 2 * FRAME_US  # the second replica's pictures arrived 37 ms later


async def test_b_frames_and_hevc_are_joined_at_the_same_picture(http: httpx.AsyncClient, tmp_path: Path):
    response = await clip(http, "hevc", -5, 50)
    assert numbers(response) == list(range(1000))
    (tmp_path / "clip.mp4").write_bytes(response.content)
    length_s = await asyncio.to_thread(plays_in_silence, tmp_path / "clip.mp4")
    from_us, to_us = bounds_us(response)
    assert abs(length_s * 1e6 - (to_us - from_us)) <= FRAME_US


async def test_a_clip_starts_at_the_preceding_keyframe_and_reports_it(http: httpx.AsyncClient, tmp_path: Path):
    response = await clip(http, "avc", 7.3, 12.5)
    assert numbers(response) == list(range(150, 325))  # keyframe at 6 s; ends with the fragment that contains 13 s
    assert bounds_us(response) == (START_US + 6 * S, START_US + 13 * S)
    (tmp_path / "clip.mp4").write_bytes(response.content)
    assert await asyncio.to_thread(plays_in_silence, tmp_path / "clip.mp4") == 7.0


async def test_a_change_of_size_returns_windows_of_one_size_each(http: httpx.AsyncClient):
    response = await clip(http, "sizes", 0, 40)
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    windows = response.json()["windows"]
    assert [(w["from"], w["to"]) for w in windows] == [(at(0), at(20)), (at(20), at(40))]
    found = list[int]()
    for window in windows:
        asked = {"from": window["from"], "to": window["to"]}
        found += numbers(await http.get("/v1/cameras/sizes/clip.mp4", params=asked))
    assert found == list(range(1000))


async def test_a_clip_without_footage_has_the_cause(http: httpx.AsyncClient):
    response = await clip(http, "avc", 22, 28)
    assert response.status_code == 404
    assert [state["state"] for state in response.json()["states"]] == ["gap"]
    assert response.json()["states"][0]["cause"]


async def test_a_clip_longer_than_a_day_is_rejected(http: httpx.AsyncClient):
    assert (await clip(http, "avc", 0, 86_401)).status_code == 422


def held(api: ApiProcess) -> SlowClient:
    """Requests a clip and reads only the response's head; the rest exceeds all buffers."""
    query = httpx.QueryParams({"from": at(0), "to": at(LARGE_S)})
    return SlowClient(api.url, f"/v1/cameras/large/clip.mp4?{query}")


async def test_the_limit_of_concurrent_clips_is_served_and_one_more_is_503(api: ApiProcess, http: httpx.AsyncClient):
    sleeping = [await asyncio.to_thread(held, api) for _ in range(PLACES)]
    try:
        assert [one.status for one in sleeping] == [200] * PLACES
        for _ in range(20):  # they stay open
            put_off = await clip(http, "avc", 0, 4)
            assert put_off.status_code == 503
            assert put_off.headers["retry-after"] == "5"
            assert "api.clips_at_once" in put_off.json()["detail"]
            await asyncio.sleep(0.05)
        playlist = await http.get("/v1/cameras/avc/playlist.m3u8", params={"from": at(0), "to": at(4)})
        assert playlist.status_code == 200
        sleeping.pop().close()
        async with asyncio.timeout(10):
            while (freed := await clip(http, "avc", 0, 4)).status_code != 200:
                assert freed.status_code == 503
                await asyncio.sleep(0.05)
    finally:
        for one in sleeping:
            one.close()


async def test_a_disconnected_client_stops_the_work(api: ApiProcess, http: httpx.AsyncClient):
    """The api stops its work for a disconnected client long before the clip's end."""
    began = await clips_ended(api)
    one = await asyncio.to_thread(held, api)
    await asyncio.sleep(0.5)
    assert await clips_ended(api) == began
    one.close()
    async with asyncio.timeout(5):
        while await clips_ended(api) == began:
            await asyncio.sleep(0.05)
    assert await clips_ended(api) == began + 1
    assert (await clip(http, "avc", 0, 4)).status_code == 200
    assert not api.events("request failed")


async def clips_ended(api: ApiProcess) -> int:
    """Number of completed clip requests."""
    async with httpx.AsyncClient(timeout=5) as http:
        text = (await http.get(f"{api.health_url}/metrics")).text
    name = 'districam_api_request_seconds_count{route="/v1/cameras/{camera_id}/clip.mp4"} '
    return sum(int(float(line.removeprefix(name))) for line in text.splitlines() if line.startswith(name))


async def test_a_hidden_copy_can_be_requested_by_epoch(http: httpx.AsyncClient):
    params = {"from": at(-5), "to": at(90)}
    for epoch, expected in {EPOCHS[2]: range(750, 1500), EPOCHS[3]: range(1100, 2000)}.items():
        alone = await http.get("/v1/cameras/avc/clip.mp4", params={**params, "epoch": epoch})
        assert numbers(alone) == list(expected)
    nothing = await http.get("/v1/cameras/avc/clip.mp4", params={**params, "epoch": EPOCHS[0]})
    assert nothing.status_code == 404


async def test_each_clip_is_logged_for_audit(api: ApiProcess, http: httpx.AsyncClient):
    await clip(http, "avc", 0, 4)
    line = api.events("footage_served")[-1]
    assert (line["route"], line["camera_id"], line["from"], line["to"]) == ("clip", "avc", at(0), at(4))
