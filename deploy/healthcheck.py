#!/opt/districam/bin/python
"""Exit code 0 if the service in this container is ready; else 1, and what is missing. Simulated cameras: if they listen."""

import json
import os
import socket
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

PYPROJECT = Path("/opt/districam/pyproject.toml")
"""The service's own pyproject.toml, which the Dockerfile puts there."""
SIMULATOR = ("simulator", 8554)
TIMEOUT_S = 4


def main() -> int:
    service = os.environ["SERVICE"]
    if service == SIMULATOR[0]:
        with socket.create_connection(("127.0.0.1", SIMULATOR[1]), TIMEOUT_S):
            return 0
    port = os.environ.get("DISTRICAM_HEALTH__PORT") or default_port(PYPROJECT)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=TIMEOUT_S):
            return 0
    except urllib.error.HTTPError as answer:
        print(_missing(answer.read()))
    except OSError as error:
        print(f"no answer on port {port}: {error}")
    return 1


def default_port(pyproject: Path) -> int:
    """The health port in a service's `[tool.districam]`."""
    port: int = tomllib.loads(pyproject.read_text())["tool"]["districam"]["port"]
    return port


def _missing(body: bytes) -> str:
    dependencies = json.loads(body).get("dependencies", {})
    return "; ".join(f"{name}: {one['detail']}" for name, one in dependencies.items() if not one["ok"])


if __name__ == "__main__":
    sys.exit(main())
