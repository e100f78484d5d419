"""The api conforms to its OpenAPI document: Schemathesis tests it over real footage."""

import asyncio
import re
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from districam_devkit.servers import Servers
from support.api_process import ApiProcess
from support.schemathesis_api import KEY_HEADER_CONFIG, footage_config, running_stocked_api, schemathesis_command

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiProcess]:
    async with running_stocked_api(tmp_path_factory.mktemp("api-schema"), servers.s3) as running:
        yield running


async def asked(api: ApiProcess, folder: Path, config: list[str], *options: str):
    """Runs Schemathesis, which checks every response."""
    called, environment = await asyncio.to_thread(schemathesis_command, api, folder, config, "--seed", "1", *options)
    ran = await asyncio.to_thread(
        subprocess.run,
        called, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert not api.events("request failed")


async def answered(api: ApiProcess) -> set[tuple[str, str]]:
    """Returns pairs of route and status that were answered."""
    async with httpx.AsyncClient(timeout=5) as http:
        text = (await http.get(f"{api.health_url}/metrics")).text
    return set(re.findall(r'^districam_api_requests_total{route="(.*?)",status="(\d+)"} ', text, re.MULTILINE))


async def test_responses_to_generated_requests_match_the_schema(api: ApiProcess, tmp_path: Path):
    await asked(api, tmp_path, [KEY_HEADER_CONFIG], "--phases", "coverage,fuzzing", "--max-examples", "12")
    assert len({route for route, status in await answered(api) if status == "422"}) > 8


async def test_responses_over_real_footage_match_the_schema(api: ApiProcess, tmp_path: Path):
    config = footage_config()
    await asked(api, tmp_path, config, "--phases", "fuzzing", "--mode", "positive", "--max-examples", "8")
    routes = {route for route, status in await answered(api) if status in ("200", "204", "206")}
    assert routes >= {
        *("/v1/cameras", "/v1/cameras/{camera_id}", "/v1/streams", "/v1/coverage", "/v1/session", "/v1/logout"),
        *(f"/v1/cameras/{{camera_id}}/{leaf}" for leaf in ("timeline", "segments", "playlist.m3u8", "clip.mp4")),
        *(f"/v1/cameras/{{camera_id}}/{leaf}" for leaf in ("snapshot.jpg", "latest.jpg")),
        "/v1/media/{key:path}",
    }
