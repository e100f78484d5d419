"""Runs simulated cameras in their own process, so that other tasks of a shared loop do not delay them."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from districam_devkit.servers.process import Child, ProcessSpec, running

READY_S = 180
"""Long enough to generate their clips in the first run."""


@asynccontextmanager
async def running_simulator(
    spec: Path, port: int, *, home: Path, cache: Path, log: Path | None = None, name: str = "simcam"
) -> AsyncGenerator[Child]:
    """Runs the cameras of `spec` (see `python -m districam_devkit.simcam`) on a loopback port.

    Raises:
        ServerUnavailable: they do not start; the message has the end of `home/logs/{name}.log`.
    """
    sends = ("--log", str(log)) if log is not None else ()
    program = ProcessSpec(
        name=name,
        argv=(
            *(sys.executable, "-m", "districam_devkit.simcam", "--spec", str(spec), "--port", str(port)),
            *("--cache", str(cache), *sends),
        ),
        folder=home,
        log_path=home / "logs" / f"{name}.log",
        is_ready=lambda: _listens(port),
        ready_s=READY_S,
    )
    async with running(program) as child:
        yield child


async def _listens(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True
