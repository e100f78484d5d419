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

MEMBER = Path("/opt/districam/pyproject.toml")
"""The service's own: its default port."""
SIMULATOR = ("simulator", 8554)
TIMEOUT_S = 4


def main() -> int:
    service = os.environ["SERVICE"]
    if service == SIMULATOR[0]:
        with socket.create_connection(("127.0.0.1", SIMULATOR[1]), TIMEOUT_S):
            return 0
    port = os.environ.get("DISTRICAM_HEALTH__PORT") or tomllib.loads(MEMBER.read_text())["tool"]["districam"]["port"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=TIMEOUT_S):
            return 0
    except urllib.error.HTTPError as answer:
        print(_missing(answer.read()))
    except OSError as error:
        print(f"no answer on port {port}: {error}")
    return 1


def _missing(body: bytes) -> str:
    dependencies = json.loads(body).get("dependencies", {})
    return "; ".join(f"{name}: {one['detail']}" for name, one in dependencies.items() if not one["ok"])


if __name__ == "__main__":
    sys.exit(main())
