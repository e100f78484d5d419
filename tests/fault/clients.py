"""Clients that occupy resources of the api while cameras are recorded and other clients send requests."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import httpx

from districam_api import keyring
from districam_api.core.keys import create_key
from districam_devkit.api_client import format_instant
from districam_devkit.servers.ports import pick_free_ports
from fault.scene import Scene
from support.slow_client import SlowClient

SLOW, SLOW_FOR_S = 500, 30
SOURCES = [f"127.0.16.{1 + n // 10}" for n in range(SLOW)]
"""Ten connections per address, below the api's limit per address."""
AT_ONCE_S = 3.0
SLEEPING, READER_S = 8, 10
FOOTAGE_S = 45


async def slow_connections(scene: Scene) -> None:
    """500 connections to the api that send a byte of a request head now and then; closed ones are replaced.

    Raises:
        AssertionError: health or another client's request is not answered at once.
    """
    url = urlsplit(scene.pipeline.api_url)
    assert url.hostname
    assert url.port
    held: dict[int, socket.socket] = {}
    try:
        until_s = time.monotonic() + SLOW_FOR_S
        while time.monotonic() < until_s:
            await asyncio.to_thread(_trickle, held, (url.hostname, url.port))
            await _responds_at_once(scene)
    finally:
        for one in held.values():
            one.close()


def _trickle(held: dict[int, socket.socket], address: tuple[str, int]) -> None:
    """Sends a byte on each connection; replaces closed ones."""
    for number, source in enumerate(SOURCES):
        one = held.get(number)
        try:
            if one is None:
                one = socket.create_connection(address, timeout=5, source_address=(source, 0))
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
                held[number] = one
            else:
                one.sendall(b"x")
        except OSError:
            if (ended := held.pop(number, None)) is not None:
                ended.close()


async def _responds_at_once(scene: Scene) -> None:
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(AT_ONCE_S), httpx.AsyncClient() as http:
            answer = await http.get(f"{scene.pipeline['api'].health_url}/healthz")
            answer.raise_for_status()
            await scene.api.json("/v1/streams")
    except (TimeoutError, httpx.HTTPError) as error:
        raise AssertionError(
            f"no answer {time.monotonic() - began_s:.1f} s with slow connections: {error!r}"
        ) from error


async def sleeping_downloads(scene: Scene) -> None:
    """Eight unread downloads with one viewer's key at a second api, while another client requests clips.

    Raises:
        AssertionError: the other client gets no clip, or the viewer gets none after the stalled downloads were closed.
    """
    now_us = time.time_ns() // 1000
    keys_file = scene.send_log.parent / "keys.json"
    made = [
        create_key(name.encode()[:4], name.encode() * 4, name=name, role="viewer", now_us=now_us)
        for name in ("sleeping", "watching")
    ]
    await asyncio.to_thread(keyring.write, keys_file, [key for key, _ in made])
    (port,) = pick_free_ports(1)
    api_settings = {"PORT": str(port), "KEYS_FILE": str(keys_file), "READER_S": str(READER_S)}
    service = await scene.pipeline.add_replica(
        "api", {f"DISTRICAM_API__{name}": value for name, value in api_settings.items()}
    )
    base = f"http://127.0.0.1:{port}"
    window = {"from": format_instant(now_us - FOOTAGE_S * 1_000_000), "to": format_instant(now_us - 5_000_000)}
    try:
        async with _client_with_key(base, made[0][1]) as viewer, _client_with_key(base, made[1][1]) as other:
            await _whole_clip(other, window, 30)
            path = f"/v1/cameras/cam-001/clip.mp4?{httpx.QueryParams(window)}"
            held = [await asyncio.to_thread(SlowClient, base, path, made[0][1]) for _ in range(SLEEPING)]
            try:
                _require([one.status for one in held] == [200] * 2 + [503] * 6, [one.status for one in held])
                for _ in range(5):
                    await _whole_clip(other, window, AT_ONCE_S)
                await _whole_clip(viewer, window, READER_S + 10)
            finally:
                for one in held:
                    one.close()
    finally:
        await service.child.stop()


@contextlib.asynccontextmanager
async def _client_with_key(base: str, key: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base, timeout=20, headers={"Authorization": f"Bearer {key}"}) as http:
        yield http


async def _whole_clip(http: httpx.AsyncClient, window: dict[str, str], within_s: float) -> None:
    answer: httpx.Response | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while (answer := await http.get("/v1/cameras/cam-001/clip.mp4", params=window)).status_code == 503:
                await asyncio.sleep(0.5)
    _require(answer is not None and answer.status_code == 200, answer and answer.text[:300])


def _require(holds: bool, what: object) -> None:  # noqa: FBT001  # reads like an assertion
    if not holds:
        raise AssertionError(f"a stalled download keeps its slot: {what}")
