"""`python -m budgets REPORT…`: what the tests of a run cost, by module, from their JUnit reports. Exits with 1 if a module
costs more CPU seconds than `budgets.toml` allows it. The last line is the sum, over all reports.
"""

import sys
from pathlib import Path

from budgets.ledger import Budgets, spent_of, too_dear

SHOWN = 12


def main(reports: list[Path]) -> int:
    """Prints the dearest modules and those over their budget; gives the exit code."""
    spent = spent_of(reports)
    for module, cpu_s in sorted(spent.items(), key=lambda each: -each[1])[:SHOWN]:
        print(f"{cpu_s:8.1f} CPU-seconds  {module}")
    over = too_dear(spent, Budgets.load())
    for module, (cpu_s, budget_s) in over.items():
        print(
            f"{module} took {cpu_s:.1f} CPU-seconds of its {budget_s:g}: make it cheaper, "
            "or give it more in tests/budgets/budgets.toml and say there what for"
        )
    print(f"{sum(spent.values()):8.1f} CPU-seconds in all, shared servers not counted")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main(list(map(Path, sys.argv[1:]))))
