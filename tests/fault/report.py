"""The table of faults and their costs, as Markdown and JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fault.counted import Cost
from fault.rows import Row
from fault.scene import CAMERAS, FPS, GOP_S, SEGMENT_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one row; `wrong`: violated limits, empty if there are none."""

    row: Row
    fault_s: float
    recovery_s: float
    cost: Cost
    wrong: list[str]

    def line(self) -> dict[str, object]:
        cost = self.cost
        return {
            "fault": self.row.name,
            "fault_s": round(self.fault_s, 1),
            "sent": cost.sent,
            "stored": cost.stored,
            "in_gaps": cost.in_gaps,
            "gap_s": cost.gap_s,
            "worst_gap_s": cost.worst_gap_s,
            "allowed": {cause: round(self.fault_s + more, 1) for cause, more in self.row.causes.items()},
            "unaccounted": cost.unaccounted,
            "duplicates": cost.duplicates,
            "stored_twice": cost.stored_twice,
            "recovery_s": round(self.recovery_s, 1),
            "wrong": self.wrong,
        }


def evaluate(row: Row, fault_s: float, recovery_s: float, cost: Cost) -> Outcome:
    """Compares the cost with the row's limits."""
    wrong: list[str] = []
    if cost.unaccounted:
        wrong.append(f"{cost.unaccounted} pictures are unaccounted for")
    if cost.duplicates:
        wrong.append(f"{cost.duplicates} pictures are shown twice")
    if cost.in_gaps and not row.causes:
        wrong.append(f"{cost.in_gaps} pictures lie in gaps")
    for cause, gap_s in cost.worst_gap_s.items():
        if cause not in row.causes:
            wrong.append(f"a gap of cause {cause}, which is not this fault's")
        elif gap_s > fault_s + row.causes[cause]:
            wrong.append(f"{gap_s} s of {cause} for a fault of {fault_s:.1f} s")
    return Outcome(row, fault_s, recovery_s, cost, wrong)


def write(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Writes `faults.md` and `faults.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [outcome.line() for outcome in outcomes]
    text = json.dumps(lines, ensure_ascii=False, indent=2)
    (folder / "faults.json").write_text(text + "\n", encoding="utf-8")
    (folder / "faults.md").write_text(_page(outcomes), encoding="utf-8")


def _page(outcomes: Sequence[Outcome]) -> str:
    head = (
        "# Faults\n\n"
        f"Written by `make test-fault` on {_machine()}: {CAMERAS} simulated cameras of {FPS} pictures a second "
        f"(GOP {GOP_S} s, segments of {SEGMENT_S} s), the four services, Kafka, SeaweedFS and Valkey on one machine; "
        "one fault after another in the same run. Every sent picture is looked up in the stored bytes and in "
        "the timeline.\n\n"
        "- *in gaps*: not stored, but in a gap with a cause. *gap*: seconds, sum of all cameras.\n"
        "- *recovery*: from the fault's end until a query finds later footage of every camera; it includes a "
        "segment's length.\n\n"
        "| fault | lasted s | sent | stored | in gaps | gap s | unaccounted | duplicates | stored twice | recovery s |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(_row(outcome) for outcome in outcomes)


def _row(outcome: Outcome) -> str:
    cost = outcome.cost
    gaps = ", ".join(f"{seconds} {cause}" for cause, seconds in cost.gap_s.items()) or "0"
    cells = (
        *(outcome.row.name + (" **(broken)**" if outcome.wrong else ""), f"{outcome.fault_s:.1f}"),
        *(cost.sent, cost.stored, cost.in_gaps, gaps, cost.unaccounted, cost.duplicates, cost.stored_twice),
        f"{outcome.recovery_s:.1f}",
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
