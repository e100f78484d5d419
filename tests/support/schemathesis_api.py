"""An api over real footage, and Schemathesis, which sends it valid and invalid requests by its OpenAPI document."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_api import keyring
from districam_api.core.keys import create_key
from districam_api.core.tokens import sign
from districam_common.contract import names
from districam_common.contract.events import Camera, Location
from districam_common.contract.names import format_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit.servers import seaweedfs, valkey
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.segment_objects import segments

S = 1_000_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S
EPOCHS = [f"01900000-0000-7000-8000-00000000000{n}" for n in range(2)]
SEGMENT_OBJECTS = [
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
KEY, KEY_TEXT = create_key(b"\x00\x01\x02\x03", os.urandom(32), name="", role="operator", now_us=NOW_US)
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,negative_data_rejection,unsupported_method,allow_header_conformance"
)
TOKEN_KEY = "k" * 40
COMMON_PARAMETERS = {
    "path.camera_id": "cam-1",
    "query.from": format_rfc3339(START_US - S),
    "query.to": format_rfc3339(START_US + 40 * S),
}
ROUTE_PARAMETERS = {
    "/v1/cameras/{camera_id}/clip.mp4": {"query.to": format_rfc3339(START_US + 10 * S)},
    "/v1/cameras/{camera_id}/snapshot.jpg": {"query.at": format_rfc3339(START_US + 3 * S)},
    "/v1/media/{key}": {
        "path.key": SEGMENT_OBJECTS[0].key,
        "query.token": sign(TOKEN_KEY.encode(), "media", SEGMENT_OBJECTS[0].key, KEY.id, NOW_US + 3600 * S),
    },
}
"""Parameter values that have footage, in place of generated ones: for all routes, and for some."""
KEY_HEADER_CONFIG = 'headers = { Authorization = "Bearer ${KEY}" }'


@asynccontextmanager
async def running_stocked_api(home: Path, store: seaweedfs.S3) -> AsyncGenerator[ApiProcess]:
    """Runs the api on a Valkey of its own and a new bucket of that store."""
    s3 = S3Settings(
        endpoint=store.url,
        access_key=store.access_key,
        secret_key=SecretStr(store.secret_key),
        bucket=f"test-schema-{NOW_US}",
    )
    await create_stocked_bucket(s3, {"cam-1": SEGMENT_OBJECTS})
    keyring.write(home / "keys.json", [KEY])
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, CAMERAS, {"cam-1": SEGMENT_OBJECTS}, watermark_us=NOW_US)
            for name, value in {"jpeg": b"\xff\xd8", "at_us": NOW_US, "width": 640, "height": 360}.items():
                await redis.hset(names.still_key("cam-1"), name, value)
        (home / "token-key").write_text(TOKEN_KEY)
        async with api_running(
            s3, server.url, home / "api.log", keys_file=home / "keys.json", token_key_file=home / "token-key"
        ) as running:
            yield running


def schemathesis_command(
    api: ApiProcess, folder: Path, config: Sequence[str], *options: str
) -> tuple[list[str], dict[str, str]]:
    """Schemathesis's command line with that configuration, and its environment, with the key if it is used."""
    file, document = folder / "schemathesis.toml", folder / "openapi.json"
    file.write_text("\n".join(config))
    answer = httpx.get(f"{api.url}/openapi.json", headers={"Authorization": f"Bearer {KEY_TEXT}"}, timeout=10)
    document.write_text(answer.raise_for_status().text)
    called = [
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(file)),
        *("run", str(document), "--url", api.url, "--checks", CHECKS, "--request-timeout", "10"),
        *options,
    ]
    return called, {**os.environ, "KEY": KEY_TEXT}


def footage_config() -> list[str]:
    """Configuration whose parameters have footage."""
    config = [KEY_HEADER_CONFIG, "[parameters]", *_values(COMMON_PARAMETERS)]
    for path, own in ROUTE_PARAMETERS.items():
        config += [
            "[[operations]]",
            f"include-path = {json.dumps(path)}",
            "[operations.parameters]",
            *_values({**COMMON_PARAMETERS, **own}),
        ]
    return config


def _values(given: Mapping[str, str]) -> list[str]:
    return [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in given.items()]
