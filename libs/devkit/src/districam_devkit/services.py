"""The services of this repository: each folder of `services/` whose pyproject.toml has a table `[tool.districam]`.

A new service is added there and nowhere else; what starts, installs, locks, builds, scrapes or tests services reads it.
"""

import importlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from districam_common.runtime.settings import ServiceSettings

ROOT = Path(__file__).parents[4]


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service as its pyproject.toml describes it.

    Attributes:
        name: of its folder, image, Kubernetes deployment and Prometheus job; its package is `districam_{name}`.
        port: default port of /healthz, /readyz and /metrics.
        settings_path: its settings class, `module:class`.
    """

    name: str
    port: int
    settings_path: str

    @property
    def package(self) -> str:
        return f"districam_{self.name}"

    def load_settings_class(self) -> type[ServiceSettings]:
        """Imports the service's settings."""
        module, _, name = self.settings_path.partition(":")
        found: type[ServiceSettings] = getattr(importlib.import_module(module), name)
        return found


def _read() -> dict[str, ServiceSpec]:
    specs: list[ServiceSpec] = []
    for path in ROOT.glob("services/*/pyproject.toml"):
        table = tomllib.loads(path.read_text())["tool"]["districam"]
        specs.append(ServiceSpec(path.parent.name, table["port"], table["settings"]))
    return {spec.name: spec for spec in sorted(specs, key=lambda spec: spec.port)}


SERVICES = _read()
"""By name, in the order of their ports, which is the way of a picture through them."""
