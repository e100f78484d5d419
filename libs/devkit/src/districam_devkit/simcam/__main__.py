"""`districam-simcam`: runs simulated RTSP cameras until SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import structlog
import uvloop
from pydantic import ConfigDict, TypeAdapter, ValidationError

from districam_devkit.simcam.auth import Credentials
from districam_devkit.simcam.behavior import CameraBehavior
from districam_devkit.simcam.clips import ClipSource, Footage, Generated
from districam_devkit.simcam.faults import INSTANT_FAULTS, KINDS, RATE_FAULTS, Fault, parse_fault
from districam_devkit.simcam.server import CLIP_CACHE, SimCamera, running


@dataclass(frozen=True)
class _CameraSpec:
    id: str
    clip: Footage | Generated
    spread: float = 0.5
    writes: int = 3
    start_at_keyframe: bool = False
    other: Footage | Generated | None = None
    begins_s: float | None = None
    manners: CameraBehavior = field(default_factory=CameraBehavior)
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class _Spec:
    """`{"cameras": [{"id": "cam-001", "clip": {"footage": "bikes"}}, {"id": …, "clip": {"codec": "hevc", …}}], "faults": ["drop:cam-001@20"]}`."""

    cameras: list[_CameraSpec]
    faults: list[str]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def default_cameras(count: int) -> list[SimCamera]:
    """cam-001 and cam-002 play real footage, the others a generated 1080p25 clip at 2.5 Mbit/s."""
    clips: list[ClipSource] = [Footage("bigbuckbunny"), Footage("bikes")]
    clips += [Generated()] * max(0, count - len(clips))
    return [SimCamera(f"cam-{index + 1:03d}", clip) for index, clip in enumerate(clips[:count])]


def read_spec(path: Path) -> tuple[list[SimCamera], list[Fault]]:
    """Reads the JSON file of `--spec` (see `_Spec`). Raises ValueError (pydantic's ValidationError is one)."""
    spec = TypeAdapter(_Spec).validate_json(path.read_bytes())
    cameras = [
        SimCamera(
            camera.id,
            camera.clip,
            spread=camera.spread,
            writes=camera.writes,
            start_at_keyframe=camera.start_at_keyframe,
            other_clip=camera.other,
            start_offset_s=camera.begins_s,
            behavior=camera.manners,
        )
        for camera in spec.cameras
    ]
    return cameras, [parse_fault(text) for text in spec.faults]


async def serve(
    cameras: Sequence[SimCamera],
    faults: Sequence[Fault],
    *,
    host: str,
    port: int,
    log: Path | None,
    cache: Path,
    credentials: Credentials | None,
) -> None:
    """Runs the cameras until SIGTERM or SIGINT; prints one line of JSON once they accept connections."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(
        cameras, host=host, port=port, log=log, credentials=credentials, faults=faults, cache=cache
    ) as simulation:
        print(json.dumps({"ready": True, "port": simulation.port, "urls": simulation.urls()}), flush=True)
        await stop.wait()


def main() -> None:
    arguments = _parser().parse_args()
    try:
        cameras, faults = read_spec(arguments.spec) if arguments.spec else (default_cameras(arguments.cameras), [])
        faults += [parse_fault(text) for text in arguments.fault]
        credentials = _credentials(arguments.user, arguments.password_file)
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
        uvloop.run(
            serve(
                cameras,
                faults,
                host=arguments.host,
                port=arguments.port,
                log=arguments.log,
                cache=arguments.cache,
                credentials=credentials,
            )
        )
    except (ValueError, OSError) as error:
        message = str(error) if not isinstance(error, ValidationError) else f"{arguments.spec}: {error}"
        print(message, file=sys.stderr)
        sys.exit(2)


def _credentials(user: str | None, password_file: Path | None) -> Credentials | None:
    if (user is None) != (password_file is None):
        raise ValueError("--user and --password-file go together")
    if user is None or password_file is None:
        return None
    return Credentials(user, password_file.read_text(encoding="utf-8").strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("districam-simcam", description=__doc__)
    parser.add_argument("--cameras", type=int, default=4, help="number of cameras (default 4)")
    parser.add_argument("--spec", type=Path, help="a JSON file of cameras and faults, instead of --cameras")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=int, default=0, help="RTSP port (default: a free one)")
    parser.add_argument("--log", type=Path, help="path of the send log")
    parser.add_argument(
        "--cache", type=Path, default=CLIP_CACHE, help=f"cache of generated clips (default {CLIP_CACHE})"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        help=f"KIND:CAMERA@S for {', '.join(sorted(INSTANT_FAULTS))}; KIND:CAMERA@S+S for {', '.join(sorted({*KINDS} - INSTANT_FAULTS - RATE_FAULTS))}; KIND:CAMERA@S+S%%PERCENT for {', '.join(sorted(RATE_FAULTS))}",
    )
    parser.add_argument("--user")
    parser.add_argument("--password-file", type=Path)
    return parser


if __name__ == "__main__":
    main()
