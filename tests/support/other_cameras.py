"""RTSP servers that are not ours, playing a clip of ours: GStreamer's, and gortsplib's with ffmpeg publishing to it.

A missing one fails, with what would bring it: GStreamer's server and its plugins, `gi` for the system's Python, Go and
ffmpeg come from the system's packages.
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
from districam_devkit.servers.process import Program, ServerUnavailable
from districam_devkit.servers.process import running as child_running

Scheme = Literal["basic", "digest", "sha256"]
USER = "viewer"
SYSTEM_PYTHON = "/usr/bin/python3"
HERE = Path(__file__).parent
KEPT = Path(".devkit/gocam")
BUILD_S = 300


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a camera shall do; without a password nobody is asked for one."""

    file: Path
    codec: Codec = "h264"
    scheme: Scheme = "digest"
    password: str = ""
    is_udp_alone: bool = False


def built() -> Path:
    """The server made of `gocam/`, kept under `.devkit` until its sources change. Blocks. Raises ServerUnavailable.

    To build it takes most of a minute, and Go fetches what it is made of, once.
    """
    sources = HERE / "gocam"
    key = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(sources.iterdir()))).hexdigest()[:16]
    binary = KEPT.absolute() / f"gocam-{key}"
    if binary.exists():
        return binary
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as folder:  # it appears whole, whoever else builds it
        partial = Path(folder).absolute() / "gocam"
        arguments = ("go", "build", "-o", str(partial), ".")
        try:
            made = subprocess.run(
                arguments, cwd=sources, capture_output=True, text=True, timeout=BUILD_S, check=False
            )
        except FileNotFoundError:
            raise ServerUnavailable("Go is missing: install golang-go") from None
        if made.returncode:
            raise ServerUnavailable(f"Go cannot build gocam:\n{made.stderr[-2000:]}")
        partial.replace(binary)
    return binary


@asynccontextmanager
async def gstreamer_camera(wanted: Wanted, folder: Path) -> AsyncGenerator[str]:
    """GStreamer's; it plays the file from its beginning for the first who watches. Gives its URL."""
    script = str(HERE / "gst_camera.py")
    carrier = "udp" if wanted.is_udp_alone else "both"
    options = ("--codec", wanted.codec, "--scheme", wanted.scheme, "--carrier", carrier)
    argv = (SYSTEM_PYTHON, script, str(wanted.file.absolute()), *options)
    async with _serving("gstreamer", argv, wanted, folder) as port:
        yield f"rtsp://127.0.0.1:{port}/cam"


@asynccontextmanager
async def go_camera(binary: Path, wanted: Wanted, folder: Path) -> AsyncGenerator[str]:
    """gortsplib's; ffmpeg publishes the file to it at its own pace, again and again. Gives its URL."""
    argv = (str(binary), "-scheme", wanted.scheme)
    async with _serving("gocam", argv, wanted, folder) as port:
        url = f"rtsp://127.0.0.1:{port}/cam"
        source = ("-re", "-stream_loop", "-1", "-i", str(wanted.file.absolute()), "-c", "copy")
        sink = ("-f", "rtsp", "-rtsp_transport", "tcp", "-pkt_size", "1200", url)
        publisher = Program(
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
async def _serving(name: str, argv: tuple[str, ...], wanted: Wanted, folder: Path) -> AsyncGenerator[int]:
    log_path = folder / f"{name}.log"
    program = Program(
        name=name,
        argv=argv,
        folder=folder,
        log_path=log_path,
        is_ready=lambda: _has_said_its_port(log_path),
        env={"CAMERA_PASSWORD": wanted.password},
        ready_s=30,
        stop_s=3,
    )
    async with child_running(program):
        yield int(log_path.read_text().split("\n")[0])


async def _has_said_its_port(log_path: Path) -> bool:
    await asyncio.sleep(0)
    first, ends, _ = log_path.read_text().partition("\n")
    return bool(ends) and first.isdecimal()


async def _is_published(log_path: Path) -> bool:
    await asyncio.sleep(0)
    return "\npublished\n" in log_path.read_text()
