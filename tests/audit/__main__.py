"""`python -m audit PIP_AUDIT`: the locked packages against what is known of their holes, as pip-audit finds it.

`SERVICE` names whom it asks: `osv` (the default: osv.dev) or `pypi`. Exit code 0: of every package something could be asked, and
none has a known hole; 1: some have; 2: some, or all, could not be asked about. Then nothing is known of those, which is not the same as
that nothing is wrong with them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from districam_devkit.services import SERVICES

ROOT = Path(__file__).parents[2]
LOCKED = (*SERVICES, "client", "compile", "bootstrap", "dev")
ASKED_S = 600


@dataclass
class Known:
    """`holes`: lines for people; `unasked`: packages of which nothing could be learnt; `asked`: how many the others are."""

    holes: list[str] = field(default_factory=list[str])
    unasked: list[str] = field(default_factory=list[str])
    asked: int = 0

    @property
    def exit_code(self) -> int:
        return 1 if self.holes else 2 if self.unasked or not self.asked else 0


def judged(answer: str) -> Known:
    """What pip-audit's JSON says; without any, nothing is known."""
    known = Known()
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return known
    for one in packages:
        if "skip_reason" in one:
            known.unasked.append(str(one["name"]))
            continue
        known.asked += 1
        for hole in one["vulns"]:
            fixed = ", ".join(hole["fix_versions"]) or "no version yet"
            known.holes.append(f"{one['name']} {one['version']}: {hole['id']}, mended in {fixed}")
    return known


def main(arguments: Sequence[str]) -> int:
    service = os.environ.get("SERVICE", "osv")
    files = [part for name in LOCKED for part in ("-r", str(ROOT / f"requirements/{name}.txt"))]
    ran = subprocess.run(
        [arguments[0], "--disable-pip", "--no-deps", "--progress-spinner", "off", "-f", "json", "-s", service, *files],
        capture_output=True, text=True, check=False, timeout=ASKED_S,
    )  # fmt: skip
    known = judged(ran.stdout)
    for line in known.holes:
        print(line)
    if known.unasked:
        print(f"not asked about: {', '.join(sorted(set(known.unasked)))}", file=sys.stderr)
    if not known.asked:
        last = (ran.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"{service} could not be asked: nothing is known of any package. {last[:300]}", file=sys.stderr)
    print(f"{known.asked} packages asked about, {len(known.holes)} known holes")
    return known.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
