"""Fuzzes a target that takes bytes in a process of its own, and keeps inputs with new coverage."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fuzz.run_result import OnProgress, RunResult
from fuzz.target import Target
from fuzz.targets import CORPUS, corpus_files
from fuzz.worker import EXECUTABLE_VARIABLE

MAX_CORPUS_FILES, MAX_CORPUS_FILE_BYTES = 80, 3000
"""Maximum number of a target's inputs in the repository, and of bytes in one."""
TIMEOUT_S, MAX_MEMORY_MIB = 20, 1024
"""libFuzzer reports an input as a finding beyond this time or total memory."""
EXIT_TIMEOUT_S = 90
MERGE_TIMEOUT_S = 900
_STATUS = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+)")
_DONE = re.compile(r"^stat::number_of_executed_units:\s*(\d+)")
_WRITTEN = re.compile(r"Test unit written to (\S+)")


class BytesRunner:
    """Fuzzes `target`; `folder` persists between runs and holds interesting inputs and findings."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target, self._folder = target, folder / target.name
        self._findings, self._seeds, self._work = (self._folder / name for name in ("findings", "seeds", "work"))

    def run(self, seconds: float, on_progress: OnProgress) -> RunResult:
        """Runs for `seconds`, or until a finding."""
        self._prepare()
        ran, began_s, tail = RunResult(), None, list[str]()
        options = [
            f"-max_total_time={max(1, round(seconds))}",
            "-print_final_stats=1",
            f"-timeout={TIMEOUT_S}",
            "-report_slow_units=9999",
        ]
        options += [
            f"-rss_limit_mb={MAX_MEMORY_MIB}",
            f"-artifact_prefix={self._findings}/",
            f"-dict={self._folder / 'words'}",
        ]
        process = self._start([*options, *map(str, (self._work, CORPUS / self._target.name, self._seeds))])
        for line in _lines(process, seconds + EXIT_TIMEOUT_S):
            tail = [*tail[-60:], line]
            began_s = began_s or time.monotonic()  # from its first output on, to exclude loading
            if status := _STATUS.match(line):
                ran.executions, ran.edges = int(status[1]), max(ran.edges, int(status[2]))
                on_progress(f"{ran.executions} inputs, {ran.edges} edges")
            elif done := _DONE.match(line):
                ran.executions = int(done[1])
            elif written := _WRITTEN.search(line):
                ran.findings.append(Path(written[1]))
        ran.seconds = time.monotonic() - (began_s or time.monotonic())
        if process.returncode and not ran.findings:
            raise RuntimeError(f"{self._target.name} was not fuzzed:\n" + "".join(tail))
        for one in ran.findings:
            one.with_suffix(".txt").write_text("".join(tail))
        return ran

    def update_corpus(self) -> None:
        """Keeps the inputs with most coverage beyond the seeds' in the repository: existing ones first, then new."""
        control, known, home = self._folder / "merged", self._folder / "merge", CORPUS / self._target.name
        control.unlink(missing_ok=True)
        shutil.rmtree(known, ignore_errors=True)
        shutil.copytree(self._seeds, known)
        shutil.copytree(home, known, dirs_exist_ok=True)
        options = ["-merge=1", f"-merge_control_file={control}", str(known), str(self._work)]
        for _ in _lines(self._start(options), MERGE_TIMEOUT_S):
            pass
        seeds = {path.name for path in self._seeds.iterdir()}
        found = [path for path in _by_coverage_gain(control.read_text().splitlines()) if path.name not in seeds]
        contents = {
            _name(content): content
            for path in found[:MAX_CORPUS_FILES]
            if len(content := path.read_bytes()) <= MAX_CORPUS_FILE_BYTES
        }
        for path in corpus_files(self._target.name):
            if path.name not in contents:
                path.unlink()
        for name, content in contents.items():
            (home / name).write_bytes(content)

    def _start(self, options: Sequence[str]) -> subprocess.Popen[str]:
        itself = self._folder / "again"
        itself.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fuzz.worker {self._target.name} "$@"\n')
        itself.chmod(0o755)
        return subprocess.Popen(
            [str(itself), f"-max_len={self._target.max_bytes}", *options],
            env={**os.environ, EXECUTABLE_VARIABLE: str(itself)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip

    def _prepare(self) -> None:
        for folder in (self._findings, self._seeds, self._work, CORPUS / self._target.name):
            folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(self._target.seeds()):
            (self._seeds / f"{number:03}").write_bytes(seed)
        words = ("".join(f"\\x{byte:02x}" for byte in word) for word in self._target.dictionary)
        (self._folder / "words").write_text("".join(f'"{word}"\n' for word in words))


def _lines(process: subprocess.Popen[str], within_s: float) -> Iterator[str]:
    """Yields its output until it ends; terminates it after `within_s`."""
    assert process.stdout is not None
    until_s = time.monotonic() + within_s
    try:
        for line in process.stdout:
            yield line
            if time.monotonic() > until_s:
                break
    finally:
        process.terminate() if process.poll() is None else None
        process.wait(30)


def _name(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()[:16]


def _by_coverage_gain(control: Sequence[str]) -> list[Path]:
    """Returns inputs that add coverage, from libFuzzer's control file, sorted by the number of new edges, most first.

    The file has the number of inputs, how many of them existed before, their names, and then by input number
    the features (FT) and edges (COV) that no earlier one had.
    """
    count = int(control[0])
    names = control[2 : 2 + count]
    gains: dict[int, list[int]] = {}
    for line in control[2 + count :]:
        kind, number, *what = line.split()
        if kind in {"FT", "COV"}:
            gains.setdefault(int(number), [0, 0])[kind == "FT"] += len(what)
    ranked = sorted(gains, key=lambda number: (gains[number], -number), reverse=True)
    return [Path(names[number]) for number in ranked if any(gains[number])]
