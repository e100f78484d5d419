"""Environments of released services: only their locked requirements, ingest compiled."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.machine import ROOT

_STEP_S = 300
_COMPILES = ROOT / "deploy" / "compile.py"


def python(service: str, folder: Path) -> Path:
    """The interpreter of an environment like the service's image; created at the first call or when outdated.

    Raises:
        RuntimeError: packages could not be installed or compiled; the message has the end of the output.
    """
    locked = [ROOT / "requirements" / f"{name}.txt" for name in (service, "compile")]
    members = (ROOT / "libs" / "common", ROOT / "services" / service)
    sources = [file for member in members for file in sorted(member.rglob("*.py"))]
    home = folder / service
    stamp = _stamp([*locked, _COMPILES, ROOT / "services" / service / "pyproject.toml", *sources])
    if not (home / stamp).exists():
        shutil.rmtree(home, ignore_errors=True)
        install = _environment(home)
        install("--compile-bytecode", "--require-hashes", "-r", str(locked[0]))
        install("--no-deps", "--no-cache", *map(str, members))
        if service == "ingest":
            compile_environment(home / "bin" / "python")
        (home / stamp).touch()
    return home / "bin" / "python"


def compile_environment(target: Path) -> None:
    """Compiles in the environment of that interpreter what the image compiles.

    Raises:
        RuntimeError: as `python` does.
    """
    compiler = _do(str(ROOT / "scripts" / "compiler")).strip()
    _do(compiler, str(_COMPILES), str(target))


def _stamp(files: Iterable[Path]) -> str:
    seen = hashlib.sha256(sys.version.encode() + bytes(ROOT))
    for file in files:
        seen.update(file.read_bytes())
    return seen.hexdigest()


def _environment(home: Path) -> Callable[..., str]:
    """Creates an environment; returns a function that installs into it."""
    uv, python = str(ROOT / ".venv" / "bin" / "uv"), str(home / "bin" / "python")
    _do(uv, "venv", "--python", sys.executable, str(home))
    return lambda *what: _do(uv, "pip", "install", "--python", python, *what)


def _do(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=_STEP_S, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(ran.stderr or ran.stdout)[-2000:]}")
    return ran.stdout
