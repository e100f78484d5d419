"""Clients that occupy resources: stalled downloads, slow connections, open files. Other clients are not affected."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_api import keyring
from districam_api.core.keys import Key, create_key
from districam_common.contract.events import Camera
from districam_common.contract.names import format_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit.servers import Servers, valkey
from districam_devkit.simcam.clips import Generated
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.numbered_footage import PaddedFootage, make_numbered_segments, open_footage
from support.slow_client import SlowClient

pytestmark = [
    pytest.mark.integration,
    pytest.mark.hostile,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

S = 1_000_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S
EPOCH = "01900000-0000-7000-8000-000000000001"
SMALL = open_footage("large", START_US, Generated(width=320, height=180, bitrate=300_000, label="AVC"))
MADE = {"large": make_numbered_segments(PaddedFootage("large", SMALL.clip, START_US), EPOCH, range(500))}
"""20 s of 16 MB, more than a connection's buffers hold."""
CAMERA = Camera(camera_id="large", name="large", url="rtsp://10.0.0.1/1", updated_us=START_US - 3600 * S)
CLIP = "/v1/cameras/large/clip.mp4"
READER_S, REQUEST_S = 2.0, 2.0
SOON_S = 10
ELSEWHERE = "127.0.0.2"


def window(seconds: float) -> dict[str, str]:
    return {"from": format_rfc3339(START_US), "to": format_rfc3339(START_US + round(seconds * S))}


@dataclass(frozen=True, slots=True)
class World:
    """Settings of the apis, and two callers with keys."""

    s3: S3Settings
    redis_url: str
    keys_file: Path
    viewer: tuple[Key, str]
    operator: tuple[Key, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[World]:
    home = tmp_path_factory.mktemp("api-slow-clients")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-slow-clients-{NOW_US}",
    )
    await create_stocked_bucket(s3, MADE)
    viewer = create_key(b"view", b"v" * 32, name="viewer", role="viewer", now_us=NOW_US)
    operator = create_key(b"oper", b"o" * 32, name="operator", role="operator", now_us=NOW_US)
    keyring.write(home / "keys.json", [viewer[0], operator[0]])
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, [CAMERA], MADE, watermark_us=NOW_US)
        yield World(s3, server.url, home / "keys.json", viewer, operator)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiProcess]:
    log = tmp_path_factory.mktemp("api") / "api.log"
    async with api_running(
        world.s3, world.redis_url, log, keys_file=world.keys_file, reader_s=READER_S, request_s=REQUEST_S
    ) as running:
        yield running


def client_of(api: ApiProcess, key: tuple[Key, str]) -> httpx.AsyncClient:
    """A client with that key at another address."""
    return httpx.AsyncClient(
        base_url=api.url, timeout=15, headers={"Authorization": f"Bearer {key[1]}"},
        transport=httpx.AsyncHTTPTransport(local_address=ELSEWHERE),
    )  # fmt: skip


def disconnected_paths(api: ApiProcess, key: Key) -> list[str]:
    """Paths of the stalled transfers to that key that were closed."""
    return [line["path"] for line in api.events("transfer aborted, client too slow") if line["key_id"] == key.id]


@contextlib.contextmanager
def sleeping(api: ApiProcess, path: str, key: tuple[Key, str] | None, count: int) -> Generator[list[SlowClient]]:
    found = [SlowClient(api.url, path, key[1] if key else "") for _ in range(count)]
    try:
        yield found
    finally:
        for one in found:
            one.close()


@pytest.mark.correctness
async def test_eight_stalled_downloads_of_one_key_do_not_block_others(api: ApiProcess, world: World):
    viewer, path = world.viewer, f"{CLIP}?{httpx.QueryParams(window(20))}"
    with sleeping(api, path, viewer, 8) as found:
        assert [one.status for one in found] == [200] * 2 + [503] * 6
        async with client_of(api, world.operator) as other, client_of(api, viewer) as same:
            assert (await other.get(CLIP, params=window(2))).status_code == 200
            put_off = await same.get(CLIP, params=window(2))
            assert (put_off.status_code, put_off.headers["retry-after"]) == (503, "5")
            assert "api.clips_per_key" in put_off.json()["detail"]
            async with asyncio.timeout(READER_S + SOON_S):
                while (await same.get(CLIP, params=window(2))).status_code != 200:
                    await asyncio.sleep(0.1)
        assert [await asyncio.to_thread(one.read_until_closed) for one in found[:2]] == [True, True]
    assert disconnected_paths(api, viewer[0]) == [CLIP, CLIP]


async def test_a_stalled_download_of_an_object_is_disconnected_too(api: ApiProcess, world: World):
    async with client_of(api, world.operator) as http:
        listed = await http.get("/v1/cameras/large/segments", params=window(20))
        url: str = listed.json()["segments"][0]["url"]
    with sleeping(api, url, None, 1) as (one,):
        assert one.status == 200
        async with asyncio.timeout(READER_S + SOON_S):
            while not disconnected_paths(api, world.operator[0]):
                await asyncio.sleep(0.1)
        assert await asyncio.to_thread(one.read_until_closed)
    assert disconnected_paths(api, world.operator[0]) == [url.partition("?")[0]]


# ---- connections


def opened(api: ApiProcess, sources: list[str]) -> list[socket.socket]:
    """Opens a connection from each address and sends the start of a request head."""
    url = urlsplit(api.url)
    found = list[socket.socket]()
    for source in sources:
        one = socket.create_connection((url.hostname, url.port), timeout=10, source_address=(source, 0))
        found.append(one)
        with contextlib.suppress(OSError):  # of connections that were already rejected
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    return found


async def check_responsive(api: ApiProcess, world: World):
    """Health and another client's request are answered at once."""
    async with asyncio.timeout(3), httpx.AsyncClient() as prober, client_of(api, world.viewer) as http:
        assert (await prober.get(f"{api.health_url}/healthz")).status_code == 200
        assert (await http.get("/v1/session")).status_code == 200


@pytest.mark.parametrize("sources", [["127.0.0.3"] * 500, [f"127.0.1.{n % 100 + 1}" for n in range(500)]])
async def test_five_hundred_slow_connections_do_not_affect_other_clients(
    api: ApiProcess, world: World, sources: list[str]
):
    held = await asyncio.to_thread(opened, api, sources)
    try:
        for _ in range(5):
            await check_responsive(api, world)
            for one in held:
                with contextlib.suppress(OSError):
                    one.send(b"x")
            await asyncio.sleep(0.1)
        async with asyncio.timeout(REQUEST_S + SOON_S):
            while await open_connections(api) > 10:
                await asyncio.sleep(0.2)
    finally:
        for one in held:
            one.close()


async def open_connections(api: ApiProcess) -> int:
    async with httpx.AsyncClient(timeout=5) as http:
        text = (await http.get(f"{api.health_url}/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith('districam_api_connections{kind="http"}')]
    return int(float(line.split()[-1]))


async def test_with_few_file_descriptors_health_still_answers_and_none_leaks(world: World, tmp_path: Path):
    """More connections than file descriptors: the excess is rejected, and later connections succeed."""
    async with api_running(
        world.s3, world.redis_url, tmp_path / "api.log", keys_file=world.keys_file, open_files=256
    ) as api:
        assert api.events("RLIMIT_NOFILE allows fewer connections than configured")[0]["connections"] == 42
        held = await asyncio.to_thread(opened, api, [f"127.0.2.{n}" for n in range(1, 31)])
        await check_responsive(api, world)
        held += await asyncio.to_thread(opened, api, [f"127.0.2.{n % 250 + 1}" for n in range(270)])
        try:
            async with asyncio.timeout(3), httpx.AsyncClient() as prober:
                assert (await prober.get(f"{api.health_url}/healthz")).status_code == 200
            assert not api.events("connection not accepted")
        finally:
            for one in held:
                one.close()
        async with asyncio.timeout(SOON_S):
            while await open_connections(api) > 1:
                await asyncio.sleep(0.1)
        await check_responsive(api, world)
