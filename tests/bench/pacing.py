"""The sender of a run, as a process of its own: it must not share the readers' interpreter."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.machine import ROOT

ANSWER_S = 60.0
CAMERAS_MOST = 1000


@dataclass(frozen=True)
class Video:
    """What the cameras send."""

    width: int
    height: int
    bitrate: int


FULL = Video(1920, 1080, 2_000_000)
SMALL = Video(640, 360, 256_000)


@dataclass(frozen=True)
class Sent:
    """What the sender says at its end: pictures from each camera's first keyframe on, and how late packets left."""

    units: dict[str, int]
    bytes: int
    late_ms_p50: int
    late_ms_p99: int


class Sender:
    """`python -m districam_devkit.pacer`, and the words that it takes."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self._port = process, port

    def url(self, camera_id: str) -> str:
        return f"rtsp://127.0.0.1:{self._port}/{camera_id}"

    @property
    def pid(self) -> int:
        return self._process.pid

    async def begin(self) -> None:
        """Lateness counts from now on."""
        await self._ask("begin")

    async def watched(self, cameras: int) -> None:
        """Waits until so many are being watched."""
        async with asyncio.timeout(ANSWER_S):
            while (await self._ask("state"))["watched"] < cameras:
                await asyncio.sleep(0.2)

    async def stop(self) -> Sent:
        """Ends each camera behind a whole picture."""
        await self._ask("stop")
        return Sent(**await self._line())

    async def _ask(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        return await self._line()

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def sending(video: Video) -> AsyncGenerator[Sender]:
    """A sender for the length of the block."""
    size = ("--width", str(video.width), "--height", str(video.height), "--bitrate", str(video.bitrate))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "districam_devkit.pacer", *size),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            port = json.loads(await process.stdout.readline())["port"]
        yield Sender(process, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
