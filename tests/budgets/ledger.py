"""CPU time of test modules and their budgets."""

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
        """Reads budgets.toml."""
        found = tomllib.loads(FILE.read_text())
        return cls(found["default_s"], found["modules"])

    def of(self, module: str) -> float:
        """The module's budget in CPU seconds."""
        return self.modules.get(module, self.default_s)


def spent_of(reports: Sequence[Path]) -> dict[str, float]:
    """CPU seconds of each module in JUnit reports with the property `cpu_s` (support/cpu_time_plugin.py).

    A module that was run twice counts with its more expensive run. Raises KeyError if a test has no such property.
    """
    out: dict[str, float] = {}
    for report in reports:
        run: dict[str, float] = defaultdict(float)
        for case in ET.parse(report).iter("testcase"):  # noqa: S314  # the file is written by pytest
            run[_module(case)] += float(_properties(case)["cpu_s"])
        out |= {module: max(cpu_s, out.get(module, 0.0)) for module, cpu_s in run.items()}
    return out


def over_budget(spent: Mapping[str, float], budgets: Budgets) -> dict[str, tuple[float, float]]:
    """Modules over their budget: CPU seconds taken and allowed."""
    return {module: (cpu_s, budgets.of(module)) for module, cpu_s in spent.items() if cpu_s > budgets.of(module)}


def _module(case: ET.Element) -> str:
    """The module's name; for tests in a class, the class name is after it."""
    return ".".join(part for part in case.attrib["classname"].split(".") if not part.startswith("Test"))


def _properties(case: ET.Element) -> dict[str, str]:
    return {each.attrib["name"]: each.attrib["value"] for each in case.iter("property")}
