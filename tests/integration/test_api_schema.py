"""The api does what its OpenAPI document says, whatever it is asked: Schemathesis asks it, over real footage."""

# Redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_api import keyring
from districam_api.core.keys import make
from districam_api.core.tokens import sign
from districam_common import names
from districam_common.events import Camera, Location
from districam_common.names import rfc3339
from districam_common.settings import S3Settings
from districam_devkit.servers import Servers, valkey
from support.api_process import Api, api_running, fill, stock
from support.objects import segments

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

S = 1_000_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S
EPOCHS = [f"01900000-0000-7000-8000-00000000000{n}" for n in range(2)]
MADE = [
    *segments("cam-1", EPOCHS[0], START_US, count=5),
    *segments("cam-1", EPOCHS[1], START_US + 20 * S, count=5),
]
CAMERAS = [
    Camera(
        camera_id="cam-1", name="Cổng chính", url="rtsp://10.0.0.1/1", groups=("Quận 1",),
        location=Location(latitude=10.77, longitude=106.7, place="Đường Nguyễn Huệ"), updated_us=START_US - S,
    ),
    Camera(camera_id="cam-2", name="Kho", url="rtsp://10.0.0.2/1", enabled=False, updated_us=START_US),
]  # fmt: skip
KEY, TEXT = make(b"\x00\x01\x02\x03", os.urandom(32), name="", role="operator", now_us=NOW_US)
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,negative_data_rejection,unsupported_method,allow_header_conformance"
)
TOKEN_KEY = "k" * 40
EACH = {
    "path.camera_id": "cam-1",
    "query.from": rfc3339(START_US - S),
    "query.to": rfc3339(START_US + 40 * S),
}
OWN = {
    "/v1/cameras/{camera_id}/clip.mp4": {"query.to": rfc3339(START_US + 10 * S)},
    "/v1/cameras/{camera_id}/snapshot.jpg": {"query.at": rfc3339(START_US + 3 * S)},
    "/v1/media/{key}": {
        "path.key": MADE[0].key,
        "query.token": sign(TOKEN_KEY.encode(), "media", MADE[0].key, KEY.id, NOW_US + 3600 * S),
    },
}
"""Values that have footage, in place of made-up ones: for all routes, and for some."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Api]:
    home = tmp_path_factory.mktemp("api-schema")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-schema-{NOW_US}",
    )
    await stock(s3, {"cam-1": MADE})
    keyring.write(home / "keys.json", [KEY])
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await fill(redis, CAMERAS, {"cam-1": MADE}, log_us=NOW_US)
            for name, value in {"jpeg": b"\xff\xd8", "at_us": NOW_US, "width": 640, "height": 360}.items():
                await redis.hset(names.still_key("cam-1"), name, value)
        (home / "token-key").write_text(TOKEN_KEY)
        async with api_running(
            s3, server.url, home / "api.log", keys_file=home / "keys.json", token_key_file=home / "token-key"
        ) as running:
            yield running


async def asked(api: Api, folder: Path, config: list[str], *options: str):
    """Lets Schemathesis ask, and judge every answer."""
    file = folder / "schemathesis.toml"
    file.write_text("\n".join(['headers = { Authorization = "Bearer ${KEY}" }', *config]))
    ran = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(file)),
            *("run", f"{api.url}/openapi.json", "--checks", CHECKS, "--seed", "1", "--request-timeout", "10"),
            *options,
        ],
        cwd=folder, env={**os.environ, "KEY": TEXT}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert not api.events("request failed")


async def answered(api: Api) -> set[tuple[str, str]]:
    """Which routes have given which statuses."""
    async with httpx.AsyncClient(timeout=5) as http:
        text = (await http.get(f"{api.health_url}/metrics")).text
    return set(
        re.findall(r'^districam_api_requests_total{route="(.*?)",status="(\d+)"} ', text, re.MULTILINE)
    )


async def test_whatever_is_made_up_no_answer_is_outside_the_schema(api: Api, tmp_path: Path):
    await asked(api, tmp_path, [], "--phases", "coverage,fuzzing", "--max-examples", "12")
    assert len({route for route, status in await answered(api) if status == "422"}) > 8


async def test_over_real_footage_no_answer_is_outside_the_schema(api: Api, tmp_path: Path):
    config = ["[parameters]", *values(EACH)]
    for path, own in OWN.items():
        config += [
            "[[operations]]",
            f"include-path = {json.dumps(path)}",
            "[operations.parameters]",
            *values({**EACH, **own}),
        ]
    await asked(api, tmp_path, config, "--phases", "fuzzing", "--mode", "positive", "--max-examples", "8")
    routes = {route for route, status in await answered(api) if status in ("200", "204", "206")}
    assert routes >= {
        *(
            "/v1/cameras",
            "/v1/cameras/{camera_id}",
            "/v1/streams",
            "/v1/coverage",
            "/v1/session",
            "/v1/logout",
        ),
        *(
            f"/v1/cameras/{{camera_id}}/{leaf}"
            for leaf in ("timeline", "segments", "playlist.m3u8", "clip.mp4")
        ),
        *(f"/v1/cameras/{{camera_id}}/{leaf}" for leaf in ("snapshot.jpg", "latest.jpg")),
        "/v1/media/{key:path}",
    }


def values(given: dict[str, str]) -> list[str]:
    return [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in given.items()]
