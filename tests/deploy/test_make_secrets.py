"""deploy/k8s/make-secrets with a docker and a kubectl that record their calls."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.manifests import DEPLOY

pytestmark = pytest.mark.hostile

KEY = "dc_00112233_" + "S" * 43
DOCKER = f"""#!/bin/sh
printf '%s\\n' "$@" > "$NOTES/docker"
echo '{KEY}' >&2
echo '{{"keys": []}}'
"""
KUBECTL = """#!/usr/bin/env bash
case "$*" in *"get secret"*) exit 1;; esac
echo "$*" >> "$NOTES/kubectl"
for word in "$@"; do
  case "$word" in --from-file=keys.json=*) cat "${word#--from-file=keys.json=}" > "$NOTES/keys.json";; esac
done
"""


def test_the_first_key_is_shown_once_and_stored_nowhere(tmp_path: Path):
    tools, notes, home = (tmp_path / name for name in ("tools", "notes", "home"))
    for folder in (tools, notes, home):
        folder.mkdir()
    for name, text in {"docker": DOCKER, "kubectl": KUBECTL}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    before = set(Path("/dev/shm").iterdir())  # noqa: S108  # an earlier version used this world-writable folder
    done = subprocess.run(
        [str(DEPLOY / "k8s/make-secrets"), "districam"], cwd=home, timeout=30, check=True, capture_output=True, text=True,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "NOTES": str(notes), "TMPDIR": str(home)},
    )  # fmt: skip
    assert (done.stdout + done.stderr).count(KEY) == 1
    asked = (notes / "docker").read_text().split("\n")
    assert not {word for word in asked if word.startswith(("-v", "--volume", "--mount"))}
    assert {"--read-only", "none"} <= set(asked)
    assert json.loads((notes / "keys.json").read_text()) == {"keys": []}
    made = (notes / "kubectl").read_text()
    assert made.count("create secret generic") == 4
    assert KEY not in made
    assert list(home.iterdir()) == []
    assert not [one for one in set(Path("/dev/shm").iterdir()) - before if "districam" in one.name]  # noqa: S108
