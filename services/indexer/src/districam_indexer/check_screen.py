"""What a person sees of a check: progress on standard error, findings on standard output, a line each."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from districam_common.contract import names
from districam_common.runtime.clock import Clock
from districam_indexer.core.comparison import Findings

_PLAIN_EVERY_US = 10_000_000


class Advance(Protocol):
    """Called once a camera's day is done."""

    def __call__(self, done: int, found: Findings) -> None: ...


def finding(kind: str, key: str, detail: str) -> None:
    """One that somebody must act on: kind, camera, interval, key, what it is; tabs between."""
    try:
        name = names.parse_segment_key(key, 0)
    except ValueError:
        camera_id, interval = key.partition("/")[0], "-"
    else:
        span = (name.entry.start_us, name.entry.end_us)
        camera_id, interval = name.camera_id, "/".join(map(names.rfc3339, span))
    sys.stdout.write(f"{kind}\t{camera_id}\t{interval}\t{key}\t{detail}\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """A word beside the result."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def progress(days: int, clock: Clock) -> Generator[Advance]:
    """For the length of the block."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield _plain(days, clock)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} of {task.total} camera-days"),
        TextColumn("{task.fields[read]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    # Findings stay on standard output where that goes elsewhere; on the same terminal they stand above the bar.
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty(), transient=True) as shown:
        task = shown.add_task("check", total=days, read="")

        def advance(done: int, found: Findings) -> None:
            shown.update(task, completed=done, read=_figures(found))

        yield advance


def _plain(days: int, clock: Clock) -> Advance:
    last_us = clock.monotonic_us()

    def advance(done: int, found: Findings) -> None:
        nonlocal last_us
        now_us = clock.monotonic_us()
        if now_us - last_us >= _PLAIN_EVERY_US or done == days:
            last_us = now_us
            tell(f"{done} of {days} camera-days, {_figures(found)}")

    return advance


def _figures(found: Findings) -> str:
    read = f", {found.read_bytes / 1e9:.1f} GB read" if found.read else ""
    return f"{found.objects} objects{read}"
