"""The programs that are compared, as processes that read the cameras; each context manager yields their pids."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench import release_environment
from bench.machine import ROOT
from bench.sender import Sender
from districam_devkit.pipeline import service_running

Contender = Callable[[Sender, Sequence[str], Path], AbstractAsyncContextManager[list[int]]]
STOP_S = 20.0
RELEASE_FOLDER = ROOT / ".devkit" / "bench" / "shipped"


@asynccontextmanager
async def ffmpeg(sender: Sender, ids: Sequence[str], folder: Path) -> AsyncGenerator[list[int]]:
    """One process per camera that copies the stream into ten-second files."""
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder / "files", ignore_errors=True)
        yield [await stack.enter_async_context(_copying(sender.url(one), folder / "files" / one)) for one in ids]


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
        await _terminate(process)


@asynccontextmanager
async def read_cut(sender: Sender, ids: Sequence[str], folder: Path) -> AsyncGenerator[list[int]]:
    """Ingest's reader and segmenter alone, as released."""
    folder.mkdir(parents=True, exist_ok=True)
    python = await asyncio.to_thread(release_environment.python, "ingest", RELEASE_FOLDER)
    process = await asyncio.create_subprocess_exec(
        *(str(python), "-m", "bench.read_cut", *map(sender.url, ids)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tests")},
    )
    try:
        yield [process.pid]
    finally:
        await _terminate(process)


async def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def ingest(bootstrap_servers: str, folder: Path, *, single_copy: bool) -> AsyncGenerator[list[int]]:
    """The service as released; the records on the `cameras` topic decide what it reads."""
    python = await asyncio.to_thread(release_environment.python, "ingest", RELEASE_FOLDER)
    settings = {
        "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "DISTRICAM_INGEST__SINGLE_COPY_PRODUCER": str(single_copy).lower(),
        "DISTRICAM_INGEST__LINGER_S": "0",  # how long a stop waits for other replicas; there are none
    }
    async with service_running("ingest", folder, settings, ready="readyz", python=str(python)) as service:
        assert service.child.pid is not None
        yield [service.child.pid]
