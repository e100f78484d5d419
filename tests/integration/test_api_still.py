"""A snapshot shows the picture of the requested instant, verified by its pixels."""

# PyAV's and redis-py's types are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import io
import time
from collections.abc import AsyncGenerator
from functools import cache

import av
import httpx
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_common.contract import names
from districam_common.contract.events import Camera
from districam_common.contract.names import format_rfc3339, parse_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit.servers import Servers, valkey
from districam_devkit.simcam.clips import Generated
from districam_devkit.simcam.drawing import pictures
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.numbered_footage import NumberedFootage, make_numbered_segments, open_footage
from support.segment_objects import SegmentObject

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

S = 1_000_000
FRAME_US = 40_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S
FIRST, SECOND, THIRD = (f"01900000-0000-7000-8000-00000000000{n}" for n in (1, 2, 3))
AVC = open_footage("avc", START_US, Generated(width=320, height=180, bitrate=500_000, label="CAM"))
HEVC = open_footage(
    "hevc", START_US, Generated(codec="hevc", width=320, height=180, bitrate=500_000, b_frames=2, label="CAM")
)
ORPHAN = open_footage("orphan", START_US, Generated(width=320, height=180, bitrate=500_000, label="CAM"))
MADE: dict[str, list[SegmentObject]] = {
    # some segments start within a GOP: the keyframe is in the previous segment
    "avc": [
        *make_numbered_segments(AVC, FIRST, range(500), segment_pictures=175),
        *make_numbered_segments(AVC, SECOND, range(1000, 1250)),
    ],
    "hevc": make_numbered_segments(HEVC, THIRD, range(500)),
    "orphan": make_numbered_segments(ORPHAN, FIRST, range(25, 50), first_seq=1),
}
CAMERAS = [
    Camera(camera_id=name, name=name, url=f"rtsp://10.0.0.1/{name}", updated_us=START_US - 3600 * S) for name in MADE
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiProcess]:
    home = tmp_path_factory.mktemp("api-still")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-still-{NOW_US}",
    )
    await create_stocked_bucket(s3, MADE)
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, CAMERAS, MADE, watermark_us=NOW_US)
            still = {"jpeg": b"\xff\xd8 still", "at_us": NOW_US, "width": 640, "height": 360}
            for name, value in still.items():
                await redis.hset(names.still_key("avc"), name, value)
        async with api_running(s3, server.url, home / "api.log") as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http(api: ApiProcess) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        yield client


async def snapshot(http: httpx.AsyncClient, camera: str, at_us: int) -> httpx.Response:
    return await http.get(f"/v1/cameras/{camera}/snapshot.jpg", params={"at": format_rfc3339(at_us)})


LABEL = np.s_[:81, :93]
"""Area of the camera's name, the frame number and its time, in dots of three pixels."""


@cache
def drawn() -> NDArray[np.bool_]:
    """The label of each picture of the generated clips."""
    source = AVC.clip
    made = pictures("CAM", source.width, source.height, source.fps, len(source.access_units))
    return np.stack([picture[: source.height][LABEL] > 128 for picture in made])


def shown(jpeg: bytes) -> int:
    """The frame number read from the label."""
    with av.open(io.BytesIO(jpeg), "r") as container:
        luma = next(container.decode(video=0)).to_ndarray()[:180, :320]
    off = np.count_nonzero(drawn() ^ (luma[LABEL] > 128), axis=(1, 2))
    best, second = np.sort(off)[:2]
    assert best < second / 2
    return int(off.argmin())


INSTANTS_S = [
    *(n * 0.41 for n in range(47)),  # keyframes and other pictures, at all positions in segments
    *(7.0, 7.039999, 6.999999, 14.0, 19.0, 19.9),  # first and last picture of a segment, and across a segment's start
]
assert len({int(at_s * S) // FRAME_US for at_s in INSTANTS_S}) >= 50


@pytest.mark.parametrize("camera", [AVC, HEVC], ids=["avc", "hevc"])
async def test_the_snapshot_of_an_instant_shows_that_instant(http: httpx.AsyncClient, camera: NumberedFootage):
    wrong: dict[float, tuple[int, int]] = {}
    for at_s in INSTANTS_S:
        at_us = START_US + int(at_s * S)
        response = await snapshot(http, camera.camera_id, at_us)
        assert response.status_code == 200, (at_s, response.text)
        expected = int((at_us - START_US) // FRAME_US)
        if (found := shown(response.content)) != expected % 250:
            wrong[at_s] = (expected % 250, found)
        time_us = parse_rfc3339(response.headers["districam-time"])
        assert abs(time_us - START_US - expected * FRAME_US) <= 20
    assert wrong == {}


async def test_a_snapshot_in_a_gap_is_a_problem_with_the_cause(http: httpx.AsyncClient):
    response = await snapshot(http, "avc", START_US + 30 * S)
    assert response.status_code == 404
    assert response.json()["states"][0]["state"] == "gap"
    assert response.json()["states"][0]["cause"]


async def test_pictures_without_a_keyframe_are_not_decodable(http: httpx.AsyncClient):
    response = await snapshot(http, "orphan", START_US + 1_500_000)
    assert (response.status_code, response.json()["reason"]) == (404, "not_decodable")


async def test_the_newest_still_is_served_or_404(http: httpx.AsyncClient):
    response = await http.get("/v1/cameras/avc/latest.jpg")
    assert (response.status_code, response.content) == (200, b"\xff\xd8 still")
    assert response.headers["districam-time"] == format_rfc3339(NOW_US)
    assert response.headers["content-type"] == "image/jpeg"
    assert (await http.get("/v1/cameras/hevc/latest.jpg")).status_code == 404
    assert (await http.get("/v1/cameras/nobody/latest.jpg")).status_code == 404
