"""A Docker engine: the one of DOCKER_HOST, else a private one with its data under .devkit/."""

import os
import shutil
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
READY_S = 60


class Failed(Exception):
    """A command failed; the message has its output."""


@dataclass(frozen=True)
class Engine:
    """A reachable engine."""

    host: str
    version: str

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DISTRICAM_", "COMPOSE_"))}
        return {**kept, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}


def run(argv: list[str], environment: Mapping[str, str], timeout_s: float = 600) -> str:
    """Returns the command's standard output. Raises Failed."""
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def _version(host: str) -> str | None:
    argv = ["docker", "-H", host, "version", "--format", "{{.Server.Version}}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def engine() -> Generator[Engine]:
    """Yields an engine. Raises Failed if none is available."""
    host = os.environ.get("DOCKER_HOST")
    if host and (version := _version(host)):
        yield Engine(host, version)
        return
    if shutil.which("dockerd") is None:
        raise Failed("no dockerd: apt-get install docker.io debootstrap")
    home = ROOT / ".devkit/docker"
    home.mkdir(parents=True, exist_ok=True)
    host = f"unix://{home}/docker.sock"
    argv = ["dockerd", "--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "-H", host]
    with (home / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen([*argv, "--pidfile", f"{home}/pid"], stdout=log, stderr=log)
    try:
        yield Engine(host, _awaited(host, daemon, home / "dockerd.log"))
    finally:
        daemon.terminate()
        daemon.wait(60)


def _awaited(host: str, daemon: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and daemon.poll() is None:
        if version := _version(host):
            return version
        time.sleep(0.5)
    raise Failed(f"dockerd does not come up:\n{log.read_text(errors='replace')[-2000:]}")
