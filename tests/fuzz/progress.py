"""Progress display: a bar on a terminal, otherwise a line now and then."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fuzz.run_result import OnProgress

PLAIN_INTERVAL_S = 30.0


@contextmanager
def show_progress(name: str, seconds: float) -> Generator[OnProgress]:
    """Yields the callback for progress of a target that is fuzzed for `seconds`."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _plain_progress(name, seconds)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[news]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task, began_s = bar.add_task(name, total=seconds, news=""), time.monotonic()
        yield lambda news: bar.update(task, completed=min(seconds, time.monotonic() - began_s), news=news)


def _plain_progress(name: str, seconds: float) -> OnProgress:
    began_s = printed_s = time.monotonic()

    def report(news: str) -> None:
        nonlocal printed_s
        now_s = time.monotonic()
        if now_s - printed_s >= PLAIN_INTERVAL_S:
            printed_s = now_s
            print(f"{name}: {now_s - began_s:.0f} of {seconds:.0f} s, {news}", file=sys.stderr, flush=True)

    return report
