"""Runs the four services as child processes on running servers; each can be killed and restarted."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from districam_devkit.servers import OnStep, Servers, ServerUnavailable
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.servers.process import Child, ProcessSpec, running
from districam_devkit.services import SERVICES

FAST_SETTLE_SETTINGS = {
    "DISTRICAM_API__SETTLE_S": "5",
    "DISTRICAM_INDEXER__SETTLE_S": "5",
    "DISTRICAM_RECORDER__CONTACT_S": "2",
    "DISTRICAM_RECORDER__COMMIT_INTERVAL_S": "1",
}
"""Settings that make gaps final within seconds; the defaults take over a minute (docs/design/contract.md)."""
READY_S = 30.0
STOP_S = 40.0
COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service; `health_url` serves /healthz, /readyz and /metrics."""

    name: str
    child: Child
    health_url: str
    log_path: Path

    async def metric(self, name: str) -> dict[str, float]:
        """Returns a metric's samples by their label text; empty while the service does not answer."""
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                text = (await client.get(f"{self.health_url}/metrics")).text
        except httpx.HTTPError:
            return {}
        rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return {row[0].removeprefix(name): float(row[1]) for row in rows}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The running services.

    Attributes:
        add_replica: starts one more replica of a service with extra settings of its own; it stops with the block.
    """

    services: Mapping[str, Service]
    api_url: str
    add_replica: Callable[[str, Mapping[str, str]], Awaitable[Service]]

    def __getitem__(self, name: str) -> Service:
        return self.services[name]


async def run_command(module: str, *arguments: str, environment: Mapping[str, str]) -> str:
    """Runs one of districam's commands; returns its output.

    Raises:
        ServerUnavailable: it failed or timed out; the message has its output.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**_environment(), **environment},
    )
    try:
        async with asyncio.timeout(COMMAND_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise ServerUnavailable(f"{module} {' '.join(arguments)} did not end within {COMMAND_S:g} s") from None
    if process.returncode:
        raise ServerUnavailable(f"{module} {' '.join(arguments)} failed:\n{output.decode(errors='replace')}")
    return output.decode(errors="replace")


async def prepare(servers: Servers, environment: Mapping[str, str] | None = None) -> None:
    """Creates the topics and the bucket with the operator's commands."""
    settings = {**servers.environment(), **(environment or {})}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_command("districam_common.admin.topics", "apply", environment=settings))
        tasks.create_task(run_command("districam_common.admin.bucket", "apply", environment=settings))


async def apply_cameras(file: Path, records: Sequence[Mapping[str, object]], environment: Mapping[str, str]) -> str:
    """Writes cameras.yaml (JSON is YAML) and publishes it with the operator's command; returns its output."""
    await asyncio.to_thread(file.write_text, json.dumps({"cameras": records}), encoding="utf-8")
    return await run_command("districam_common.admin.cameras", "apply", "-f", str(file), environment=environment)


@asynccontextmanager
async def services_running(
    home: Path,
    servers: Servers,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, str]] | None = None,
    on_step: OnStep = lambda _name, _state: None,
) -> AsyncGenerator[Pipeline]:
    """Runs the four services with logs in `home/logs`. `overrides`: extra settings by service.

    Raises:
        ServerUnavailable: a service does not start; the message has the end of its log.
    """
    settings = {**servers.environment(), **(environment or {})}
    api_port, *health_ports = pick_free_ports(1 + len(SERVICES))
    settings["DISTRICAM_API__PORT"] = str(api_port)
    async with AsyncExitStack() as stack:
        started: dict[str, Service] = {}
        replicas = Counter[str]()

        async def another(name: str, own_settings: Mapping[str, str]) -> Service:
            port = (health_ports or pick_free_ports(1)).pop()
            replicas[name] += 1
            label = name if replicas[name] == 1 else f"{name}-{replicas[name]}"
            on_step(label, "starting")
            service = await stack.enter_async_context(
                service_running(name, home, {**settings, **own_settings}, port=port, label=label)
            )
            on_step(label, "ready")
            return service

        async def start(name: str) -> None:
            started[name] = await another(name, (overrides or {}).get(name, {}))

        try:
            async with asyncio.TaskGroup() as tasks:
                for name in SERVICES:
                    tasks.create_task(start(name))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        yield Pipeline(started, f"http://127.0.0.1:{api_port}", another)


@asynccontextmanager
async def service_running(
    name: str,
    home: Path,
    settings: Mapping[str, str],
    *,
    port: int | None = None,
    label: str | None = None,
    ready: Literal["healthz", "readyz"] = "healthz",
    python: str = sys.executable,
) -> AsyncGenerator[Service]:
    """Runs one service under a label of its own; it has started once the path `ready` answers 200.

    `python` may be the interpreter of another environment in which the service is installed.

    Raises:
        ServerUnavailable: it does not start; the message has the end of its log.
    """
    label, port = label or name, port or pick_free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    own = {key: value for key, value in settings.items() if _is_accepted_by(name, key)}
    program = ProcessSpec(
        name=label,
        argv=(python, "-m", f"districam_{name}"),
        folder=home,
        log_path=home / "logs" / f"{label}.log",
        is_ready=lambda: _is_healthy(f"{url}/{ready}"),
        env={**own, "DISTRICAM_HEALTH__PORT": str(port), "DISTRICAM_LOG__FORMAT": "json"},
        ready_s=READY_S,
        stop_s=STOP_S,
    )
    async with running(program) as child:
        yield Service(name, child, url, program.log_path)


def _is_accepted_by(name: str, variable: str) -> bool:
    """Earlier versions, which tests run alongside this one, reject the variables of other services."""
    others = [f"DISTRICAM_{other.upper()}__" for other in SERVICES if other != name]
    return not variable.startswith(tuple(others))


def _environment() -> dict[str, str]:
    import os  # noqa: PLC0415  # the one place that passes the environment on

    return {key: value for key, value in os.environ.items() if not key.startswith("DISTRICAM_")}


async def _is_healthy(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2) as client:
            return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False
