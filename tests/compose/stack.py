"""The committed compose file, unchanged, as a separate project, and an operator's actions on it."""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from compose.engine import ROOT, Engine, Failed, run
from districam_devkit.api_client import ApiClient
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.services import SERVICES

PROJECT = "districam-test"
CAMERAS = ("cam-001", "cam-002", "cam-003", "cam-004")
RECORDING_S = 120
READY_S = 180


class Stack:
    """The system under `docker compose`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.port, *_ = pick_free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._key = ""
        self._environment = {
            **engine.environment(),
            "COMPOSE_PROFILES": "silo,demo",
            "COMPOSE_PROJECT_NAME": PROJECT,
            "API_PUBLISH": f"127.0.0.1:{self.port}",
            "SETTLE_S": "5",  # makes gaps final sooner; the default is 75
        }

    def compose(self, *words: str, timeout_s: float = 400) -> str:
        """Runs `docker compose`. Raises Failed."""
        tool = shutil.which("docker-compose", path=str(Path(sys.prefix, "bin"))) or "docker-compose"
        return run([tool, "-f", str(ROOT / "deploy/docker-compose.yml"), *words], self._environment, timeout_s)

    def docker(self, *words: str) -> str:
        return run(["docker", *words], self._environment)

    @asynccontextmanager
    async def up(self) -> AsyncGenerator[float]:
        """Runs all containers and yields the start-up time; removes everything at the end."""
        run([str(ROOT / "tests/compose/images")], self.engine.environment(), 1800)
        run([str(ROOT / "deploy/prepare")], self.engine.environment())
        try:
            began = time.monotonic()
            await self.start()
            yield time.monotonic() - began
            self._clean()
        finally:
            await asyncio.to_thread(self.compose, "down", "--volumes", "--remove-orphans")

    async def start(self) -> None:
        await asyncio.to_thread(self.compose, "up", "-d", "--wait", "--no-build")

    def _clean(self) -> None:
        run(["git", "-C", str(ROOT), "diff", "--exit-code", "--", "deploy"], self.engine.environment())

    @asynccontextmanager
    async def api(self) -> AsyncGenerator[ApiClient]:
        """An API client through the published port, with an operator's key."""
        headers = {"Authorization": f"Bearer {await asyncio.to_thread(self.key)}"}
        async with httpx.AsyncClient(base_url=self.url, timeout=20, headers=headers) as client:
            yield ApiClient(client)

    def key(self) -> str:
        """An operator's key, created once by the documented command."""
        if not self._key:
            words = ("run", "--rm", "-T", "keys", "create", "--role", "operator", "--name", "first")
            self._key = self.compose(*words).strip().splitlines()[-1]
        return self._key

    async def cameras_record(self) -> None:
        """Waits until each camera's newest segment is recent. Raises TimeoutError."""
        async with asyncio.timeout(RECORDING_S), self.api() as api:
            while not await self._all_record(api):
                await asyncio.sleep(1)

    async def _all_record(self, api: ApiClient) -> bool:
        try:
            states = {row["camera_id"]: row["state"] for row in await api.streams()}
        except httpx.HTTPError:
            return False
        return all(states.get(camera_id) == "recording" for camera_id in CAMERAS)

    async def ready(self, service: str) -> None:
        """Waits until all containers of the service are healthy. Raises TimeoutError."""
        async with asyncio.timeout(READY_S):
            while set(await asyncio.to_thread(self._healths, service)) != {"healthy"}:
                await asyncio.sleep(1)

    def _healths(self, service: str) -> list[str]:
        ids = self.compose("ps", "-q", service).split()
        return [self.docker("inspect", "-f", "{{.State.Health.Status}}", one).strip() for one in ids]

    def inspected(self, service: str) -> dict[str, object]:
        return json.loads(self.docker("inspect", self.compose("ps", "-q", service).split()[0]))[0]

    async def sizes(self) -> dict[str, object]:
        """Image sizes in MB without their base, and memory while four cameras record."""
        return await asyncio.to_thread(self._sizes)

    def _sizes(self) -> dict[str, object]:
        def mb(image: str) -> float:
            return round(int(self.docker("image", "inspect", "-f", "{{.Size}}", image)) / 1e6)

        prefix = {name: f"districam/{name}:0.1.0" for name in (*SERVICES, "simulator")}
        base = mb("python:3.13-slim")
        memory = {}
        for service in (*SERVICES, "kafka", "valkey", "silo"):
            one = self.compose("ps", "-q", service).split()[0]
            memory[service] = (
                self.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", one).split("/")[0].strip()
            )
        return {
            "base_mb": base,
            "image_mb_without_base": {name: mb(image) - base for name, image in prefix.items()},
            "memory": memory,
        }

    def is_clean(self) -> bool:
        """Whether the images were built from that commit without local changes."""
        changed = run(["git", "-C", str(ROOT), "status", "--porcelain"], self.engine.environment())
        return not changed.strip()

    def commit(self) -> str:
        try:
            return run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], self.engine.environment()).strip()
        except Failed:
            return "unknown"
