"""`python -m fuzz MINUTES [TARGET]`: fuzzes all targets in turn, or one; `python -m fuzz replay FILE`: replays one.

Exit code 1 if there is a finding: its input is saved, and the file and the replay command are printed.
Results go to docs/results/fuzz.*, inputs with new coverage to tests/fuzz/corpus. 2: unknown target, or no
time.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fuzz import api_runner
from fuzz.api_runner import ApiRunner
from fuzz.bytes_runner import BytesRunner
from fuzz.progress import show_progress
from fuzz.results import FuzzResults
from fuzz.run_result import OnProgress, RunResult
from fuzz.targets import TARGETS, corpus_files
from fuzz.worker import silence_logs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".devkit" / "fuzz"
NAMES = (*TARGETS, api_runner.NAME)


class Runner(Protocol):
    """Interface of a fuzzer of one target."""

    def run(self, seconds: float, on_progress: OnProgress) -> RunResult: ...

    def update_corpus(self) -> None: ...


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["replay"]:
        return _replay(Path(arguments[1]))
    minutes, *wanted = arguments
    names = wanted or NAMES
    if set(names) - set(NAMES) or not _is_time(minutes):
        print(f"MINUTES is a number over 0, TARGET one of {', '.join(NAMES)}", file=sys.stderr)
        return 2
    silence_logs()
    findings = list[Path]()
    for name in names:
        findings += _fuzz(name, float(minutes) * 60 / len(names))
    for path in findings:
        print(
            f"FOUND: {path}\n  replay: make fuzz REPLAY={path}"
            if path.suffix != ".txt"
            else f"FOUND: {path} tells what and how"
        )
    print(f"{len(findings)} findings")
    return 1 if findings else 0


def _fuzz(name: str, seconds: float) -> list[Path]:
    runner: Runner = BytesRunner(TARGETS[name], FOLDER) if name in TARGETS else ApiRunner(FOLDER)
    with show_progress(name, seconds) as report:
        ran = runner.run(seconds, report)
    runner.update_corpus()
    FuzzResults(ROOT / "docs" / "results").add(name, ran, len(corpus_files(name)))
    print(
        f"{name}: {ran.executions} inputs in {ran.seconds:.0f} s, {ran.edges} edges, {len(ran.findings)} findings",
        flush=True,
    )
    return ran.findings


def _replay(path: Path) -> int:
    """Finds the target by the folder: …/TARGET/findings/FILE, or …/corpus/TARGET/FILE."""
    name = next((part for part in reversed(path.resolve().parts) if part in TARGETS), None)
    if name is None or not path.is_file():
        print(f"{path} is no input of {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    ran = subprocess.run([sys.executable, "-m", "fuzz.worker", "replay", name, str(path)], check=False, timeout=300)
    return min(ran.returncode, 1)


def _is_time(minutes: str) -> bool:
    try:
        return float(minutes) > 0
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
