"""Those that are compared: what reads the cameras, as processes; each for the length of a block, which gives their pids."""

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from bench.machine import ROOT
from bench.pacing import Sender
from districam_devkit.servers.ports import choose
from districam_devkit.servers.process import Program, running

Contender = Callable[[Sender, Sequence[str], Path], AbstractAsyncContextManager[list[int]]]
STOP_S = 20.0


@asynccontextmanager
async def ffmpeg(sender: Sender, ids: Sequence[str], folder: Path) -> AsyncGenerator[list[int]]:
    """A process for each camera, that copies it into files of ten seconds."""
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder / "files", ignore_errors=True)
        yield [
            await stack.enter_async_context(_copying(sender.url(one), folder / "files" / one)) for one in ids
        ]


@asynccontextmanager
async def _copying(url: str, folder: Path) -> AsyncGenerator[int]:
    folder.mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy"),
        *("-f", "segment", "-segment_time", "10", "-segment_wrap", "2", "-reset_timestamps", "1"),
        str(folder / "%d.mp4"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        await _ended(process)


@asynccontextmanager
async def read_cut(sender: Sender, ids: Sequence[str], folder: Path) -> AsyncGenerator[list[int]]:
    """Ingest's reading and cutting alone."""
    folder.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.read_cut", *map(sender.url, ids)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tests")},
    )
    try:
        yield [process.pid]
    finally:
        await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def ingest(bootstrap_servers: str, folder: Path) -> AsyncGenerator[list[int]]:
    """The service with its shipped settings; what it reads is up to the records on `cameras`."""
    (port,) = choose(1)

    async def is_ready() -> bool:
        async with httpx.AsyncClient(timeout=1) as client:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            except httpx.HTTPError:
                return False

    program = Program(
        name="ingest",
        argv=(sys.executable, "-m", "districam_ingest"),
        folder=folder,
        log_path=folder / "ingest.log",
        is_ready=is_ready,
        env={
            "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
            "DISTRICAM_HEALTH__PORT": str(port),
            "DISTRICAM_LOG__FORMAT": "json",
            "DISTRICAM_INGEST__LINGER_S": "0",  # how long a stop waits for other replicas; there are none
        },
        ready_s=60,
        stop_s=40,
    )
    async with running(program) as child:
        assert child.pid is not None
        yield [child.pid]
