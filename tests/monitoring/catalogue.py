"""Every metric that the services register, read from their code."""

import importlib
from dataclasses import dataclass
from types import ModuleType

from prometheus_client.metrics import MetricWrapperBase

import districam_common.runtime.loop_lag
import districam_common.runtime.metrics
import districam_common.runtime.unreadable
from districam_devkit.services import SERVICES

MODULES: dict[str, ModuleType] = {
    **{name: importlib.import_module(f"{spec.package}.metrics") for name, spec in SERVICES.items()},
    "indexer and api": districam_common.runtime.unreadable,
    "ingest, recorder and indexer": districam_common.runtime.metrics,
    "every service": districam_common.runtime.loop_lag,
}
OF_THE_LIBRARY = (
    ("process_cpu_seconds_total", "counter", "CPU time"),
    ("process_resident_memory_bytes", "gauge", "Memory"),
    ("process_open_fds", "gauge", "Open files and sockets"),
)
"""Of prometheus_client, in every service; more of them are exported and not promised."""


@dataclass(frozen=True)
class Metric:
    """`name` as it is scraped, without the suffixes of a histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    service: str

    @property
    def series(self) -> tuple[str, ...]:
        """Names of its samples."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{suffix}" for suffix in ("bucket", "sum", "count"))


def registered() -> list[Metric]:
    """By service, then name."""
    return [
        _metric(value, service)
        for service, module in MODULES.items()
        for value in vars(module).values()
        if isinstance(value, MetricWrapperBase)
    ]


def _metric(value: MetricWrapperBase, service: str) -> Metric:
    [described] = value.describe()
    name = f"{described.name}_total" if described.type == "counter" else described.name
    return Metric(name, described.type, _labels(value), described.documentation.rstrip("."), service)


def _labels(value: MetricWrapperBase) -> tuple[str, ...]:
    names: list[str] = list(getattr(value, "_labelnames"))  # noqa: B009  # it tells them in no other way
    return tuple(names)


def page() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Written by `make monitoring` from the code; a test fails while they differ. What promises they make: [design/contract.md](design/contract.md#health-and-metrics).",
        "What is done with them: [runbook.md](runbook.md), and the dashboards in `deploy/grafana/dashboards`.",
        "",
        "Each service answers on `/metrics` of its health port: ingest 9101, recorder 9102, indexer 9103, api 9104. Series of a",
        "camera are those of the replica that has it; they go when it goes to another one.",
    ]
    found = registered()
    for service in MODULES:
        lines += ["", f"## {service}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{m.name}` | {m.kind} | {', '.join(f'`{one}`' for one in m.labels)} | {m.help} |"
            for m in sorted(found, key=lambda m: m.name)
            if m.service == service
        ]
        if service == "every service":
            lines += [f"| `{name}` | {kind} |  | {text} |" for name, kind, text in OF_THE_LIBRARY]
    return "\n".join(lines) + "\n"
