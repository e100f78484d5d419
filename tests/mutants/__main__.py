"""`python -m mutants [group]`: breaks one rule at a time in a copy of the tree; a named test must notice each.

Exit code 1 if any mutant survives, is stale, or is noticed by anything but an assertion of its test.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from time import monotonic

from mutants.mutant import GROUPS, Mutant, catalogue
from mutants.workbench import ROOT, Verdict, judged, unchanged

PROCESSES = {"unit": 2, "integration": 1}
OUTCOMES = ("killed", "survived", "stale", "broken")


def main(arguments: Sequence[str]) -> int:
    group = arguments[0] if arguments else "unit"
    if group not in GROUPS:
        print(f"GROUP={group} is none of {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    began_s = monotonic()
    mutants = [mutant for mutant in catalogue() if mutant.group == group]
    verdicts = _all(mutants, group)
    _table(verdicts)
    bad = [mutant for mutant in mutants if verdicts[mutant.name].outcome != "killed"]
    print(f"{len(mutants) - len(bad)} of {len(mutants)} mutants killed in {monotonic() - began_s:.0f} s")
    return 1 if bad else 0


def _all(mutants: Sequence[Mutant], group: str) -> dict[str, Verdict]:
    """A verdict for each mutant's name; a line for each as it comes."""
    tests = sorted({mutant.test for mutant in mutants if mutant.has_test(ROOT)})
    verdicts: dict[str, Verdict] = {}
    with ThreadPoolExecutor(PROCESSES[group]) as pool:
        baselines = [pool.submit(unchanged, half, group) for half in (tests[::2], tests[1::2]) if half]
        running = {pool.submit(judged, mutant): mutant for mutant in mutants}
        failing = {test: why for done in baselines for test, why in done.result().items()}
        for done in as_completed(running):
            mutant, verdict = running[done], done.result()
            if mutant.test in failing:
                why = f"its test fails on the sources as they are: {failing[mutant.test]}"
                verdict = Verdict("broken", why, verdict.took_s)
            verdicts[mutant.name] = verdict
            print(f"{verdict.outcome:8} {verdict.took_s:5.1f} s  {mutant.name}  ({verdict.detail:.110})", flush=True)
    return verdicts


def _table(verdicts: dict[str, Verdict]) -> None:
    members = {mutant.name: mutant.member for mutant in catalogue()}
    counts = Counter((members[name], verdict.outcome) for name, verdict in verdicts.items())
    print(f"\n{'member':10}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
    for member in sorted({member for member, _ in counts}):
        print(f"{member:10}" + "".join(f"{counts[member, outcome]:>10}" for outcome in OUTCOMES))
    for name, verdict in verdicts.items():
        if verdict.outcome != "killed":
            print(f"{verdict.outcome.upper()}: {name}: {verdict.detail}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
