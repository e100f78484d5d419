"""What each module of tests cost, and what it may cost."""

import tomllib
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("budgets.toml")


@dataclass(frozen=True)
class Budgets:
    """CPU seconds that a module may take: `default_s`, or its own in `modules`, by its dotted name."""

    default_s: float
    modules: Mapping[str, float]

    @classmethod
    def load(cls) -> "Budgets":
        """As the file says."""
        found = tomllib.loads(FILE.read_text())
        return cls(found["default_s"], found["modules"])

    def of(self, module: str) -> float:
        """CPU seconds."""
        return self.modules.get(module, self.default_s)


def spent_of(reports: Sequence[Path]) -> dict[str, float]:
    """CPU seconds of each module in JUnit reports with the property `cpu_s` (support/cpu_time_plugin.py). A module that was run twice
    counts with its dearer run. Raises KeyError if a test has no such property.
    """
    out: dict[str, float] = {}
    for report in reports:
        run: dict[str, float] = defaultdict(float)
        for case in ET.parse(report).iter("testcase"):  # noqa: S314  # pytest wrote it
            run[_module(case)] += float(_properties(case)["cpu_s"])
        out |= {module: max(cpu_s, out.get(module, 0.0)) for module, cpu_s in run.items()}
    return out


def too_dear(spent: Mapping[str, float], budgets: Budgets) -> dict[str, tuple[float, float]]:
    """Modules over their budget: what they took and what they may take, CPU seconds."""
    return {module: (cpu_s, budgets.of(module)) for module, cpu_s in spent.items() if cpu_s > budgets.of(module)}


def _module(case: ET.Element) -> str:
    """Tests in a class have its name behind the module's."""
    return ".".join(part for part in case.attrib["classname"].split(".") if not part.startswith("Test"))


def _properties(case: ET.Element) -> dict[str, str]:
    return {each.attrib["name"]: each.attrib["value"] for each in case.iter("property")}
