"""Services as they are shipped: with their own locked requirements, without those of tests and tools."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.machine import ROOT

_STEP_S = 300


def python(service: str, folder: Path) -> Path:
    """The interpreter of an environment that holds what the service's image does; made at the first call, or when it is outdated.

    Raises:
        RuntimeError: the packages cannot be had; with the end of what was said.
    """
    requirements = ROOT / "requirements" / f"{service}.txt"
    stamp = hashlib.sha256(requirements.read_bytes() + sys.version.encode() + bytes(ROOT)).hexdigest()
    home = folder / service
    if not (home / stamp).exists():
        shutil.rmtree(home, ignore_errors=True)
        uv = str(ROOT / ".venv" / "bin" / "uv")
        _do(uv, "venv", "--python", sys.executable, str(home))
        install = (uv, "pip", "install", "--python", str(home / "bin" / "python"))
        _do(*install, "--compile-bytecode", "--require-hashes", "-r", str(requirements))
        _do(
            *install, "--no-deps", "-e", str(ROOT / "libs" / "common"), "-e", str(ROOT / "services" / service)
        )
        (home / stamp).touch()
    return home / "bin" / "python"


def _do(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=_STEP_S, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr[-2000:]}")
