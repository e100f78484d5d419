"""Ten-minute clips over a gap and a handover for each kind of footage: all that is stored, once, without warnings.

FILMED lists the kinds; the same must hold for all.
"""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
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
from support.ffmpeg_checks import decode_without_warnings
from support.numbered_footage import NumberedFootage, make_numbered_segments, open_footage
from support.segment_objects import SegmentObject

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

S = 1_000_000
FPS = 25
FRAME_US = S // FPS
MINUTES = 10
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S - 300 * S  # spans two hours
GAP_S = (240.0, 252.0)
HANDOVER_S = 430
OVERLAP_S = 12

FILMED = {
    "h264": open_footage("h264", START_US, Generated(width=320, height=180, bitrate=200_000, b_frames=2)),
    "h265": open_footage("h265", START_US, Generated(codec="hevc", width=320, height=180, bitrate=200_000)),
}
SIZES = [
    open_footage("sizes", START_US, Generated(width=width, height=width * 9 // 16, bitrate=200_000))
    for width in (320, 640, 320)
]


def pictures(from_s: float, to_s: float) -> range:
    return range(round(from_s * FPS), round(to_s * FPS))


def _ten_minutes(filmed: NumberedFootage, epochs: list[str]) -> list[SegmentObject]:
    """A connection, a gap, another replica's connection, and a third's that overlaps its end, 37 ms later."""
    first, second, third = epochs
    end_s = MINUTES * 60
    return [
        *make_numbered_segments(filmed, first, pictures(0, GAP_S[0])),
        *make_numbered_segments(filmed, second, pictures(GAP_S[1], HANDOVER_S + OVERLAP_S)),
        *make_numbered_segments(filmed, third, pictures(HANDOVER_S, end_s), shift_us=37_000),
    ]


def _epochs(family: int) -> list[str]:
    return [f"01900000-0000-7000-8000-0000000000{family}{n}" for n in range(3)]


def _sizes() -> list[SegmentObject]:
    windows = ((0, 60), (60, 120), (120, 180))
    return [
        made
        for epoch, filmed, window in zip(_epochs(9), SIZES, windows, strict=True)
        for made in make_numbered_segments(filmed, epoch, pictures(*window))
    ]


def at(seconds: float) -> str:
    return format_rfc3339(START_US + round(seconds * S))


WHOLE = {"from": at(0), "to": at(MINUTES * 60)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiProcess]:
    home = tmp_path_factory.mktemp("api-clip-long")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-clip-long-{NOW_US}",
    )
    kinds = enumerate(FILMED.items())
    made = {name: _ten_minutes(filmed, _epochs(number)) for number, (name, filmed) in kinds}
    made["sizes"] = _sizes()
    cameras = [
        Camera(camera_id=name, name=name, url=f"rtsp://10.0.0.1/{name}", updated_us=START_US - 3600 * S)
        for name in made
    ]
    await create_stocked_bucket(s3, made)
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, cameras, made, watermark_us=NOW_US)
        async with api_running(s3, server.url, home / "api.log") as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http(api: ApiProcess) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
        yield client


async def asked(http: httpx.AsyncClient, camera: str, what: str, window: dict[str, str]) -> httpx.Response:
    return await http.get(f"/v1/cameras/{camera}/{what}", params=window)


def gaps_us(timeline: dict[str, Any]) -> list[tuple[int, int]]:
    """Reported gaps with their causes."""
    gaps = [state for state in timeline["states"] if state["state"] == "gap"]
    assert all(gap["cause"] for gap in gaps)
    return [(parse_rfc3339(gap["from"]), parse_rfc3339(gap["to"])) for gap in gaps]


@pytest.mark.parametrize("camera", FILMED)
async def test_ten_minutes_over_a_gap_and_a_handover(http: httpx.AsyncClient, camera: str, tmp_path: Path):
    clip = await asked(http, camera, "clip.mp4", WHOLE)
    assert clip.status_code == 200, clip.text[:500]
    from_us, to_us = (parse_rfc3339(clip.headers[f"districam-{name}"]) for name in ("from", "to"))
    found = [picture.number for picture in bitstream.parse_stored_pictures(clip.content)]

    assert found == sorted(set(found))  # each once, in order
    timeline = (await asked(http, camera, "timeline", WHOLE)).json()
    gaps = gaps_us(timeline)
    lost = set(pictures(0, MINUTES * 60)) - set(found)
    taken_us = {number: FILMED[camera].picture_us(number) for number in lost}
    unreported = [
        number for number, us in taken_us.items() if not any(start - FRAME_US <= us <= end for start, end in gaps)
    ]
    assert unreported == []
    assert lost == set(pictures(*GAP_S))
    assert float(clip.headers["districam-gap-seconds"]) == timeline["gap_s"]

    file = tmp_path / "clip.mp4"
    file.write_bytes(clip.content)
    length_s = await asyncio.to_thread(decode_without_warnings, file)
    assert abs(length_s * S - (to_us - from_us)) <= FRAME_US
    assert abs(to_us - from_us - MINUTES * 60 * S) <= FRAME_US


async def test_windows_after_changes_of_size_cover_all_footage(http: httpx.AsyncClient, tmp_path: Path):
    refused = await asked(http, "sizes", "clip.mp4", WHOLE)
    assert refused.status_code == 409
    windows = refused.json()["windows"]
    assert [(w["from"], w["to"]) for w in windows] == [(at(n), at(n + 60)) for n in (0, 60, 120)]
    found: list[int] = []
    for number, window in enumerate(windows):
        clip = await asked(http, "sizes", "clip.mp4", {"from": window["from"], "to": window["to"]})
        assert clip.status_code == 200
        found += [picture.number for picture in bitstream.parse_stored_pictures(clip.content)]
        file = tmp_path / f"{number}.mp4"
        file.write_bytes(clip.content)
        assert await asyncio.to_thread(decode_without_warnings, file) == 60
    assert found == list(pictures(0, 180))
