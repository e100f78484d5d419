"""`python -m budgets REPORT…`: CPU time of a run's test modules, from their JUnit reports.

Exits with 1 if a module exceeds its budget in `budgets.toml` (CPU seconds). The last line is the sum over all reports.
"""

import sys
from pathlib import Path

from budgets.ledger import Budgets, over_budget, spent_of

SHOWN = 12


def main(reports: list[Path]) -> int:
    """Prints the most expensive modules and those over their budget; returns the exit code."""
    spent = spent_of(reports)
    for module, cpu_s in sorted(spent.items(), key=lambda each: -each[1])[:SHOWN]:
        print(f"{cpu_s:8.1f} CPU-seconds  {module}")
    over = over_budget(spent, Budgets.load())
    for module, (cpu_s, budget_s) in over.items():
        print(
            f"{module} took {cpu_s:.1f} CPU-seconds of its {budget_s:g}: make it cheaper, "
            "or give it more in tests/budgets/budgets.toml and say there what for"
        )
    print(f"{sum(spent.values()):8.1f} CPU-seconds in all, shared servers not counted")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main(list(map(Path, sys.argv[1:]))))
