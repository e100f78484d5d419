"""docs/results/fuzz.*: totals of all runs of each target."""

import json
from pathlib import Path
from typing import Any

from bench.report import day, machine
from fuzz.run_result import RunResult

_PAGE = """# fuzz

Made by `make fuzz` on {day}: {machine}. Seconds, inputs and findings are sums over all runs since the targets are there; edges are the
most that one run reached: of bytes, places in our Python code; of the api, pairs of a route and a status.

| target | seconds | inputs | edges | inputs kept | findings |
|---|---|---|---|---|---|
{rows}
"""


class FuzzResults:
    """The files' contents, updated by each run."""

    def __init__(self, folder: Path) -> None:
        self._file, self._page = folder / "fuzz.json", folder / "fuzz.md"

    def add(self, name: str, ran: RunResult, kept: int) -> None:
        """Adds the run and rewrites both files."""
        known: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {"targets": {}}
        one: dict[str, Any] = known["targets"].setdefault(
            name, {"runs": 0, "seconds": 0, "inputs": 0, "edges": 0, "kept": 0, "findings": 0}
        )
        one["runs"] += 1
        one["seconds"] += round(ran.seconds)
        one["inputs"] += ran.executions
        one["edges"] = max(one["edges"], ran.edges)
        one["kept"] = kept
        one["findings"] += len(ran.findings)
        known |= {"machine": machine(), "day": day()}
        self._file.write_text(json.dumps(known, indent=2) + "\n")
        fields = ("seconds", "inputs", "edges", "kept", "findings")
        rows = (
            f"| {name} | " + " | ".join(str(figures[field]) for field in fields) + " |"
            for name, figures in sorted(known["targets"].items())
        )
        self._page.write_text(_PAGE.format(day=day(), machine=machine(), rows="\n".join(rows)))
