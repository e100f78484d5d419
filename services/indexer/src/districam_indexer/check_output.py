"""Output of a check: progress on standard error, findings on standard output, a line each."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from districam_common.contract import names
from districam_common.runtime.clock import Clock
from districam_indexer.core.comparison import Findings

_PLAIN_INTERVAL_US = 10_000_000


class ReportProgress(Protocol):
    """Called after each day of a camera."""

    def __call__(self, done: int, findings: Findings) -> None: ...


def print_finding(kind: str, key: str, detail: str) -> None:
    """Prints a finding that needs action, separated by tabs: kind, camera, interval, key, detail."""
    try:
        fields = names.parse_segment_object_key(key, 0)
    except ValueError:
        camera_id, interval = key.partition("/")[0], "-"
    else:
        interval_us = (fields.entry.start_us, fields.entry.end_us)
        camera_id, interval = fields.camera_id, "/".join(map(names.format_rfc3339, interval_us))
    sys.stdout.write(f"{kind}\t{camera_id}\t{interval}\t{key}\t{detail}\n")
    sys.stdout.flush()


def print_message(text: str) -> None:
    """Prints a note to standard error."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def show_progress(days: int, clock: Clock) -> Generator[ReportProgress]:
    """Shows a progress bar during the block; plain lines if standard error is not a terminal."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield _plain_progress(days, clock)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} of {task.total} camera-days"),
        TextColumn("{task.fields[read]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    # On the same terminal, findings are printed above the bar; a redirected standard output is left alone.
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty(), transient=True) as display:
        task = display.add_task("check", total=days, read="")

        def report(done: int, findings: Findings) -> None:
            display.update(task, completed=done, read=_format_counts(findings))

        yield report


def _plain_progress(days: int, clock: Clock) -> ReportProgress:
    last_us = clock.monotonic_us()

    def report(done: int, findings: Findings) -> None:
        nonlocal last_us
        now_us = clock.monotonic_us()
        if now_us - last_us >= _PLAIN_INTERVAL_US or done == days:
            last_us = now_us
            print_message(f"{done} of {days} camera-days, {_format_counts(findings)}")

    return report


def _format_counts(findings: Findings) -> str:
    read = f", {findings.read_bytes / 1e9:.1f} GB read" if findings.read else ""
    return f"{findings.objects} objects{read}"
