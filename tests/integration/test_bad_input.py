"""Operator mistakes at each service: its exit code, and that its last line names the setting and the fix."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from districam_common.runtime.settings import S3Settings
from districam_devkit.pipeline import run_command
from districam_devkit.servers import Servers, ports
from districam_devkit.services import SERVICES
from integration.conftest import a_bucket

STORING = ("recorder", "indexer", "api")
"""The services that check the bucket's site marker."""
DEADLINE_S = 30


@dataclass(frozen=True)
class Running:
    """A service in a process of its own."""

    process: asyncio.subprocess.Process
    health_port: int

    async def ended(self) -> tuple[int, str]:
        """Waits for its end; returns exit code and output."""
        async with asyncio.timeout(DEADLINE_S):
            _, output = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, output.decode()

    async def failing(self, dependency: str) -> str:
        """Waits until a dependency failed; returns its detail in `/readyz`."""
        async with asyncio.timeout(DEADLINE_S), httpx.AsyncClient(timeout=5) as client:
            while True:
                try:
                    answer = await client.get(f"http://127.0.0.1:{self.health_port}/readyz")
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
                    continue
                state = answer.json()["dependencies"].get(dependency, {"ok": False, "detail": "not reached yet"})
                assert not state["ok"]
                if state["detail"] != "not reached yet":
                    assert answer.status_code == 503
                    return state["detail"]
                await asyncio.sleep(0.1)


@asynccontextmanager
async def started(service: str, settings: Mapping[str, str]) -> AsyncGenerator[Running]:
    health_port, api_port = ports.pick_free_ports(2)
    own = {"DISTRICAM_HEALTH__PORT": str(health_port), "DISTRICAM_LOG__FORMAT": "json", **settings}
    if service == "api":
        own = {"DISTRICAM_API__PORT": str(api_port), **own}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"districam_{service}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("DISTRICAM_")}, **own},
    )
    try:
        yield Running(process, health_port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def storing_in(servers: Servers, s3: S3Settings) -> dict[str, str]:
    return {**servers.environment(), "DISTRICAM_S3__BUCKET": s3.bucket}


@pytest.mark.parametrize("service", SERVICES)
async def test_an_unknown_variable_is_exit_code_2(service: str) -> None:
    async with started(service, {"DISTRICAM_KAFKA__BOOTSTRAP_SERVER": "broker:9092"}) as running:
        code, output = await running.ended()
    assert code == 2
    assert "DISTRICAM_KAFKA__BOOTSTRAP_SERVER: no such setting" in output
    assert "did you mean DISTRICAM_KAFKA__BOOTSTRAP_SERVERS?" in output


@pytest.mark.parametrize(
    ("service", "variable", "value", "fix"),
    [
        ("ingest", "DISTRICAM_INGEST__FRAGMENT_MAX_S", "-1", "greater than"),
        ("recorder", "DISTRICAM_RECORDER__UPLOADS", "many", "integer"),
        ("indexer", "DISTRICAM_INDEXER__BATCH_RECORDS", "0", "greater than"),
        ("api", "DISTRICAM_API__TIMEZONE", "Hanoi", "time zone"),
    ],
)
async def test_a_value_out_of_range_is_exit_code_2(service: str, variable: str, value: str, fix: str) -> None:
    async with started(service, {variable: value}) as running:
        code, output = await running.ended()
    assert code == 2
    assert f"{variable}: " in output
    assert fix in output


@pytest.mark.parametrize("service", SERVICES)
async def test_a_health_port_in_use_is_exit_code_2(service: str) -> None:
    with socket.create_server((ports.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        async with started(service, {"DISTRICAM_HEALTH__PORT": str(port)}) as running:
            code, output = await running.ended()
    assert code == 2
    assert "DISTRICAM_HEALTH__PORT" in output
    assert str(port) in output
    assert "choose another" in output


@pytest.mark.parametrize("service", STORING)
async def test_a_bucket_of_another_site_is_exit_code_3(servers: Servers, s3: S3Settings, service: str) -> None:
    settings = storing_in(servers, s3)
    elsewhere = {**settings, "DISTRICAM_SITE": "elsewhere", "DISTRICAM_S3__OBJECT_LOCK": "false"}
    await run_command("districam_common.admin.bucket", "apply", environment=elsewhere)
    async with started(service, settings) as running:
        code, output = await running.ended()
    assert code == 3
    assert f"bucket {s3.bucket} belongs to site 'elsewhere', not 'local'" in output
    assert "correct DISTRICAM_SITE or DISTRICAM_S3__BUCKET" in output


@pytest.mark.parametrize("service", STORING)
async def test_a_bucket_without_its_marker_is_waited_for(servers: Servers, s3: S3Settings, service: str) -> None:
    settings = storing_in(servers, s3)
    async with a_bucket(s3), started(service, settings) as running:
        detail = await running.failing("s3")
        assert detail == f"bucket {s3.bucket} has no _districam/site.json: run districam-bucket apply"
        assert running.process.returncode is None
