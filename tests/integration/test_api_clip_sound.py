"""Clips with audio over a gap and a handover: each unit once, in sync with its picture, decoded without warnings."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import subprocess
import time
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_common.contract.events import Camera
from districam_common.contract.names import format_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit import bitstream
from districam_devkit.servers import Servers, valkey
from districam_devkit.simcam import Generated, tone
from support import audio_probe
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.numbered_footage import make_numbered_segments, open_footage

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

S = 1_000_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S - 30 * S
EPOCHS = [f"01900000-0000-7000-8000-00000000010{n}" for n in range(3)]
AAC = tone("aac")
FILM = open_footage("heard", START_US, Generated(width=320, height=180, bitrate=300_000, label="AVC"), AAC)
# 20 s, a gap of 10 s, 30 s; the next replica also has its last 16 s (37 ms later)
MADE = {
    "heard": [
        *make_numbered_segments(FILM, EPOCHS[0], range(500)),
        *make_numbered_segments(FILM, EPOCHS[1], range(750, 1500)),
        *make_numbered_segments(FILM, EPOCHS[2], range(1100, 2000), shift_us=37_000),
    ]
}
CAMERAS = [Camera(camera_id="heard", name="x", url="rtsp://10.0.0.1/x", updated_us=START_US - 3600 * S)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiProcess]:
    home = tmp_path_factory.mktemp("api-clip-sound")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-clip-sound-{NOW_US}",
    )
    await create_stocked_bucket(s3, MADE)
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, CAMERAS, MADE, watermark_us=NOW_US)
        async with api_running(s3, server.url, home / "api.log") as running:
            yield running


async def clip(api: ApiProcess, from_s: float, to_s: float) -> bytes:
    window = {"from": format_rfc3339(START_US + round(from_s * S)), "to": format_rfc3339(START_US + round(to_s * S))}
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as http:
        response = await http.get("/v1/cameras/heard/clip.mp4", params=window)
    assert response.status_code == 200, response.text[:500]
    return response.content


async def test_a_clip_over_a_gap_and_a_handover_has_each_unit_once(api: ApiProcess, tmp_path: Path):
    content = await clip(api, -5, 90)
    assert [p.number for p in bitstream.parse_stored_pictures(content)] == [*range(500), *range(750, 2000)]
    units = audio_probe.stored_audio_units(content)
    numbers = [round(unit.at_s / 0.064) for unit in units]
    assert [n % len(AAC.access_units) for n in numbers] == audio_probe.loop_positions(units, AAC)
    assert all(later > earlier for earlier, later in pairwise(numbers))
    expected_units = {n for n in range(1250) if n * 0.064 < 19.8 or 30 <= n * 0.064 < 79.8}
    assert expected_units - set(numbers) == set()
    (tmp_path / "clip.mp4").write_bytes(content)
    words = ["ffmpeg", "-nostdin", "-v", "warning", "-xerror", "-i", str(tmp_path / "clip.mp4")]
    decoded = await asyncio.to_thread(
        subprocess.run, [*words, "-f", "null", "-"], capture_output=True, text=True, timeout=60
    )
    assert (decoded.returncode, decoded.stdout + decoded.stderr) == (0, "")


async def test_beeps_stay_in_sync_with_their_pictures(api: ApiProcess):
    content = await clip(api, -5, 90)
    shown_s = {p.number // 25: p.dts / 90_000 for p in bitstream.parse_stored_pictures(content) if p.number % 25 == 0}
    found = [beep for beep in audio_probe.detect_beeps(content) if beep.at_s > 0.5 and not 29.9 < beep.at_s < 30.2]
    assert len(found) > 60
    for beep in found:
        second = min(shown_s, key=lambda n: abs(shown_s[n] - beep.at_s))
        assert second % 8 == beep.second
        assert abs(shown_s[second] - beep.at_s) < 0.05


async def test_a_snapshot_is_made_of_footage_with_audio(api: ApiProcess):
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as http:
        at = {"at": format_rfc3339(START_US + 7 * S + 200_000)}
        response = await http.get("/v1/cameras/heard/snapshot.jpg", params=at)
    assert response.status_code == 200
    assert response.content[:2] == b"\xff\xd8"
