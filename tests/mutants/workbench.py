"""Copies of the tree, and pytest on them: one named test, with the copy's sources in front of the installed ones."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Literal

from mutants.mutant import Mutant, StaleError

ROOT = Path(__file__).parents[2]
COPIED = ("libs", "services", "tests", "pyproject.toml")
IGNORED = shutil.ignore_patterns("__pycache__", ".hypothesis", "*.egg-info")
TIMEOUT_S = {"unit": 60, "integration": 240}
TESTS_FAILED = 1
"""pytest's exit code; 2 and up are errors of its own, or of collecting."""

Outcome = Literal["killed", "survived", "stale", "broken"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant, and why it is thought so."""

    outcome: Outcome
    detail: str
    took_s: float


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of pytest: its exit code, the witness's report, the last line that it printed."""

    exit_code: int
    report: dict[str, Any]
    tail: str

    def results_of(self, test: str) -> list[dict[str, Any]]:
        """Of that test, whatever its parameters."""
        return [one for one in self.report["results"] if one["test"].partition("[")[0] == test]


def unchanged(tests: Sequence[str], group: str) -> dict[str, str]:
    """Runs the tests on a copy as it is. Gives those that do not pass, each with the reason."""
    with TemporaryDirectory(prefix="mutants-") as folder:
        tree = _copy(Path(folder))
        ran = _run(tree, tests, group, module="")
    return {test: why for test in tests if (why := _why_not_passed(ran, test))}


def _why_not_passed(ran: Ran, test: str) -> str:
    results = ran.results_of(test)
    errors = [error for one in results for error in one["errors"]]
    if errors:
        return errors[0]
    return "" if results else f"no such test, or it did not run: {ran.tail}"


def judged(mutant: Mutant) -> Verdict:
    """Applies the mutant to a copy and runs its test there."""
    began_s = monotonic()
    with TemporaryDirectory(prefix="mutants-") as folder:
        outcome, detail = _tried(mutant, Path(folder))
    return Verdict(outcome, detail, monotonic() - began_s)


def _tried(mutant: Mutant, folder: Path) -> tuple[Outcome, str]:
    tree = _copy(folder)
    target = tree / mutant.file
    if not mutant.has_test(tree):
        return "stale", f"there is no {mutant.test}"
    try:
        target.write_text(mutant.applied(target.read_text()))
        compile(target.read_text(), mutant.file, "exec")
    except (StaleError, OSError) as error:
        return "stale", str(error)
    except SyntaxError as error:
        return "broken", f"the changed file is no Python: {error}"
    try:
        ran = _run(tree, [mutant.test], mutant.group, mutant.module)
    except subprocess.TimeoutExpired:
        return "broken", f"no end after {TIMEOUT_S[mutant.group]} s"
    return verdict_of(mutant, ran, target)


def verdict_of(mutant: Mutant, ran: Ran, target: Path) -> tuple[Outcome, str]:
    """Killed only by an assertion of the named test, on the changed file: a crash would prove nothing of the rule."""
    results = ran.results_of(mutant.test)
    if not results:
        return "broken", f"the test did not run: {ran.tail}"
    origin = ran.report["origin"]
    if origin is None or not Path(origin).samefile(target):
        return "broken", f"another file was imported: {origin}"
    if mutant.group == "unit" and not ran.report["is_imported"]:
        return "broken", f"the test never imports {mutant.module}"
    failed = [one for one in results if one["errors"]]
    if not failed and ran.exit_code == 0:
        return "survived", mutant.test
    errors = [error for one in failed for error in one["errors"]]
    if ran.exit_code != TESTS_FAILED or not errors:
        return "broken", f"pytest ended with {ran.exit_code}: {ran.tail}"
    if not all(one["when"] == "call" and one["is_assertion"] for one in failed):
        return "broken", f"failed, but not by an assertion: {errors[0]}"
    return "killed", errors[0]


def _copy(folder: Path) -> Path:
    """The tree, without what was made from it."""
    tree = folder / "tree"
    tree.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=IGNORED)
        else:
            shutil.copy(ROOT / name, tree / name)
    return tree


def _run(tree: Path, tests: Sequence[str], group: str, module: str) -> Ran:
    """Runs pytest in the copy. Raises subprocess.TimeoutExpired."""
    report = tree.parent / "report.json"
    sources = [*tree.glob("libs/*/src"), *tree.glob("services/*/src"), tree / "tests"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "PYTHONDONTWRITEBYTECODE": "1",  # two sources of one size and second would share their bytecode
        "HYPOTHESIS_PROFILE": "ci",
        "MUTANT_REPORT": str(report),
        "MUTANT_MODULE": module,
    }
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--tb=line", "--no-header", "--no-summary"),
            *("-p", "no:cacheprovider", "-p", "mutants.witness", *tests),
        ],
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S[group] * max(1, len(tests) // 4),
        check=False,
    )
    said = (ended.stdout + ended.stderr).strip().splitlines()
    found: dict[str, Any] = {"results": [], "is_imported": False, "origin": None}
    if report.exists():
        found = json.loads(report.read_text())
    return Ran(ended.returncode, found, said[-1][:200] if said else "")
