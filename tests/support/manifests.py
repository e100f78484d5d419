"""Parses deploy/, and lists the settings that each program accepts."""

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from districam_api.settings import KeysSettings
from districam_common.admin.run import CommandSettings
from districam_common.runtime.settings import ServiceSettings, variable_names
from districam_devkit.services import SERVICES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
IMAGE_PREFIX = "districam/"
SETTINGS: dict[str, type[ServiceSettings]] = {
    **{f"districam-{name}": spec.load_settings_class() for name, spec in SERVICES.items()},
    "districam-topics": CommandSettings,
    "districam-bucket": CommandSettings,
    "districam-cameras": CommandSettings,
}
Map = dict[str, Any]


@dataclass(frozen=True)
class Container:
    """One of our containers: its program, arguments, environment and ports."""

    where: str
    program: str
    arguments: tuple[str, ...]
    environment: dict[str, str]

    @property
    def settings(self) -> type[ServiceSettings]:
        return KeysSettings if self.arguments[:1] == ("keys",) else SETTINGS[self.program]

    @property
    def unknown_variables(self) -> list[str]:
        """Variables that the program would reject at start."""
        known = variable_names(self.settings)
        return [name for name in self.environment if name.startswith("DISTRICAM_") and name not in known]


def compose() -> Map:
    """docker-compose.yml, merged, with its variables at their defaults."""
    return cast("Map", yaml.safe_load((DEPLOY / "docker-compose.yml").read_text()))


def compose_containers() -> list[Container]:
    """Our containers in docker-compose.yml, without the simulator."""
    return [
        _compose_container(name, service)
        for name, service in compose()["services"].items()
        if "DISTRICAM_IMAGE_PREFIX" in service["image"] and "/simulator:" not in service["image"]
    ]


def _compose_container(name: str, service: Map) -> Container:
    image = re.search(r"/(\w+):", service["image"])
    assert image is not None
    words = [str(word) for word in service.get("entrypoint", [f"districam-{image[1]}"])]
    if words[0] == "sh":  # a script with one command
        words = ["districam-api", "keys"]
    environment = {str(key): str(value) for key, value in service["environment"].items()}
    return Container(f"compose/{name}", words[0], tuple(words[1:]), environment)


def find_tool(name: str) -> str:
    """A tool of .venv, else of the system. Raises AssertionError that says what to install."""
    found = shutil.which(name, path=str(Path(sys.prefix, "bin"))) or shutil.which(name)
    assert found, f"{name} is missing: make bootstrap, and .ci/run for Debian's packages"
    return found


def build_overlay(overlay: str) -> list[Map]:
    """The overlay's objects, rendered by kustomize."""
    done = subprocess.run(
        [find_tool("kubectl"), "kustomize", str(DEPLOY / "k8s" / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [cast("Map", one) for one in yaml.safe_load_all(done.stdout)]


def kubernetes_containers(objects: list[Map]) -> list[Container]:
    """Our containers in an overlay's Deployments and Jobs."""
    maps = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
    found: list[Container] = []
    for one in objects:
        if one["kind"] not in {"Deployment", "Job"}:
            continue
        for container in one["spec"]["template"]["spec"]["containers"]:
            environment: dict[str, str] = {}
            for source in container.get("envFrom", []):
                environment |= maps[source["configMapRef"]["name"]]
            environment |= {item["name"]: item["value"] for item in container.get("env", [])}
            service = re.fullmatch(rf"{IMAGE_PREFIX}(\w+):[\w.]+", container["image"])
            assert service is not None, container["image"]
            words = container.get("command", [f"districam-{service[1]}"])
            where = f"{one['kind']}/{one['metadata']['name']}"
            found.append(Container(where, words[0], tuple(words[1:]), environment))
    return found


def scripts() -> set[str]:
    """Every console script installed by the workspace's packages."""
    files = [*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]
    tables = [tomllib.loads(file.read_text())["project"].get("scripts", {}) for file in files]
    return {name for table in tables for name in table}
