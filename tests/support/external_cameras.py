"""RTSP servers of other projects that play our clip: GStreamer's, and gortsplib's with ffmpeg publishing to it.

A missing one raises with what to install: GStreamer's server and plugins, `gi` for the system's Python, Go
and ffmpeg come from the system's packages.
"""

import asyncio
import hashlib
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from districam_devkit.bitstream import Codec
from districam_devkit.servers.process import ProcessSpec, ServerUnavailable
from districam_devkit.servers.process import running as child_running

Scheme = Literal["basic", "digest", "sha256"]
USER = "viewer"
SYSTEM_PYTHON = "/usr/bin/python3"
HERE = Path(__file__).parent
BUILD_CACHE = Path(".devkit/gocam")
BUILD_S = 300


@dataclass(frozen=True, slots=True)
class ExternalCameraOptions:
    """Options of a camera; without a password there is no authentication."""

    file: Path
    codec: Codec = "h264"
    scheme: Scheme = "digest"
    password: str = ""
    is_udp_only: bool = False


def build_go_camera() -> Path:
    """Builds the server in `gocam/`, cached under `.devkit` until its sources change. Blocks. Raises ServerUnavailable.

    The first build takes most of a minute and fetches the Go modules.
    """
    sources = HERE / "gocam"
    key = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(sources.iterdir()))).hexdigest()[:16]
    binary = BUILD_CACHE.absolute() / f"gocam-{key}"
    if binary.exists():
        return binary
    BUILD_CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD_CACHE) as folder:  # atomic, since several processes may build it
        partial = Path(folder).absolute() / "gocam"
        arguments = ("go", "build", "-o", str(partial), ".")
        try:
            made = subprocess.run(arguments, cwd=sources, capture_output=True, text=True, timeout=BUILD_S, check=False)
        except FileNotFoundError:
            raise ServerUnavailable("Go is missing: install golang-go") from None
        if made.returncode:
            raise ServerUnavailable(f"Go cannot build gocam:\n{made.stderr[-2000:]}")
        partial.replace(binary)
    return binary


@asynccontextmanager
async def gstreamer_camera(camera: ExternalCameraOptions, folder: Path) -> AsyncGenerator[str]:
    """GStreamer's server; it plays the file from its start for the first client. Yields its URL."""
    script = str(HERE / "gst_camera.py")
    lower_transport = "udp" if camera.is_udp_only else "both"
    options = ("--codec", camera.codec, "--scheme", camera.scheme, "--carrier", lower_transport)
    argv = (SYSTEM_PYTHON, script, str(camera.file.absolute()), *options)
    async with _serving("gstreamer", argv, camera, folder) as port:
        yield f"rtsp://127.0.0.1:{port}/cam"


@asynccontextmanager
async def go_camera(binary: Path, camera: ExternalCameraOptions, folder: Path) -> AsyncGenerator[str]:
    """A server of gortsplib; ffmpeg publishes the file to it in real time, in a loop. Yields its URL."""
    argv = (str(binary), "-scheme", camera.scheme)
    async with _serving("gocam", argv, camera, folder) as port:
        url = f"rtsp://127.0.0.1:{port}/cam"
        source = ("-re", "-stream_loop", "-1", "-i", str(camera.file.absolute()), "-c", "copy")
        sink = ("-f", "rtsp", "-rtsp_transport", "tcp", "-pkt_size", "1200", url)
        publisher = ProcessSpec(
            name="ffmpeg",
            argv=("ffmpeg", "-loglevel", "error", *source, *sink),
            folder=folder,
            log_path=folder / "ffmpeg.log",
            is_ready=lambda: _is_published(folder / "gocam.log"),
            ready_s=20,
            stop_s=3,
        )
        async with child_running(publisher):
            yield url


@asynccontextmanager
async def _serving(
    name: str, argv: tuple[str, ...], camera: ExternalCameraOptions, folder: Path
) -> AsyncGenerator[int]:
    log_path = folder / f"{name}.log"
    program = ProcessSpec(
        name=name,
        argv=argv,
        folder=folder,
        log_path=log_path,
        is_ready=lambda: _has_printed_port(log_path),
        env={"CAMERA_PASSWORD": camera.password},
        ready_s=30,
        stop_s=3,
    )
    async with child_running(program):
        yield int(log_path.read_text().split("\n")[0])


async def _has_printed_port(log_path: Path) -> bool:
    await asyncio.sleep(0)
    first, ends, _ = log_path.read_text().partition("\n")
    return bool(ends) and first.isdecimal()


async def _is_published(log_path: Path) -> bool:
    await asyncio.sleep(0)
    return "\npublished\n" in log_path.read_text()
