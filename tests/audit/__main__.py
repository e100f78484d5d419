"""`python -m audit PIP_AUDIT`: checks the locked packages for known vulnerabilities with pip-audit.

`SERVICE` names the database: `osv` (the default: osv.dev) or `pypi`. Exit code 0: every package was checked,
without a known vulnerability; 1: some have one; 2: some or all could not be checked, so their state is
unknown.
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
TIMEOUT_S = 600


@dataclass
class AuditResult:
    """`vulnerabilities`: as text; `unchecked`: names of packages; `checked`: number of the other packages."""

    vulnerabilities: list[str] = field(default_factory=list[str])
    unchecked: list[str] = field(default_factory=list[str])
    checked: int = 0

    @property
    def exit_code(self) -> int:
        return 1 if self.vulnerabilities else 2 if self.unchecked or not self.checked else 0


def parse_result(answer: str) -> AuditResult:
    """Parses pip-audit's JSON output; without any, every package is unchecked."""
    result = AuditResult()
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return result
    for one in packages:
        if "skip_reason" in one:
            result.unchecked.append(str(one["name"]))
            continue
        result.checked += 1
        for vulnerability in one["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            result.vulnerabilities.append(f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}")
    return result


def main(arguments: Sequence[str]) -> int:
    service = os.environ.get("SERVICE", "osv")
    files = [part for name in LOCKED for part in ("-r", str(ROOT / f"requirements/{name}.txt"))]
    ran = subprocess.run(
        [arguments[0], "--disable-pip", "--no-deps", "--progress-spinner", "off", "-f", "json", "-s", service, *files],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    result = parse_result(ran.stdout)
    for line in result.vulnerabilities:
        print(line)
    if result.unchecked:
        print(f"not checked: {', '.join(sorted(set(result.unchecked)))}", file=sys.stderr)
    if not result.checked:
        last = (ran.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"{service} did not answer: no package was checked. {last[:300]}", file=sys.stderr)
    print(f"{result.checked} packages checked, {len(result.vulnerabilities)} known vulnerabilities")
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
