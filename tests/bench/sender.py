"""The sender of a run as a process of its own, as it must not share the readers' interpreter."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.machine import ROOT

REPLY_TIMEOUT_S = 60.0
MAX_CAMERAS = 1000


@dataclass(frozen=True)
class Video:
    """The cameras' video parameters."""

    width: int
    height: int
    bitrate: int


FULL = Video(1920, 1080, 2_000_000)
SMALL = Video(640, 360, 256_000)


@dataclass(frozen=True)
class SenderTotals:
    """The sender's report: pictures from each camera's first keyframe on, and the packets' lateness."""

    units: dict[str, int]
    bytes: int
    late_ms_p50: int
    late_ms_p99: int


class Sender:
    """A running `python -m districam_devkit.pacer`, and its commands."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self._port = process, port

    def url(self, camera_id: str) -> str:
        return f"rtsp://127.0.0.1:{self._port}/{camera_id}"

    @property
    def pid(self) -> int:
        return self._process.pid

    async def reset_lateness(self) -> None:
        """Restarts the lateness measurement."""
        await self._send_command("begin")

    async def wait_for_clients(self, cameras: int) -> None:
        """Waits until this many cameras have a client."""
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            while (await self._send_command("state"))["watched"] < cameras:
                await asyncio.sleep(0.2)

    async def stop(self) -> SenderTotals:
        """Stops each camera after a whole picture; returns the report."""
        await self._send_command("stop")
        return SenderTotals(**await self._read_reply())

    async def _send_command(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        return await self._read_reply()

    async def _read_reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def running_sender(video: Video) -> AsyncGenerator[Sender]:
    """Runs a sender."""
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
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            port = json.loads(await process.stdout.readline())["port"]
        yield Sender(process, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
