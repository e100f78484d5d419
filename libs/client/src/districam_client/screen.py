"""Output: results on standard output, everything else on standard error; plain lines without a terminal."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_EVERY_S = 5.0
_MB = 1e6

Advance = Callable[[float, int], None]
"""Called with the seconds of footage and the bytes received so far."""


@dataclass(frozen=True, slots=True)
class Screen:
    """`clock` is monotonic, in seconds."""

    clock: Callable[[], float]
    is_json: bool = False
    out: Console = field(default_factory=lambda: Console(highlight=False, markup=False, emoji=False))
    error: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, markup=False, emoji=False))

    def notify(self, text: str) -> None:
        """Prints a message on standard error."""
        self.error.print(text, soft_wrap=True)

    def line(self, text: str) -> None:
        """Writes a line of the result unchanged: rich would expand its tabs."""
        self.out.file.write(f"{text}\n")

    def result(self, value: Any, text: str) -> None:
        """A result: a line of JSON for a program, else `text`."""
        self.line(json.dumps(value, ensure_ascii=False) if self.is_json else text)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; without a terminal one line per row, with tabs between fields."""
        if not self.out.is_terminal:
            for row in rows:
                self.line("\t".join(row))
            return
        table = Table(*head, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(Text, row))
        self.out.print(table)

    @contextmanager
    def progress(self, name: str, seconds: float) -> Generator[Advance]:
        """Shows how much of `seconds` of footage has been received."""
        if not self.error.is_terminal:
            yield self._plain(name, seconds)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.error, transient=True) as bar:
            task = bar.add_task(name, total=seconds, done="")
            yield lambda at_s, size: bar.update(task, completed=at_s, done=_done(at_s, seconds, size))

    def _plain(self, name: str, seconds: float) -> Advance:
        printed_s = self.clock()

        def advance(at_s: float, size: int) -> None:
            nonlocal printed_s
            if self.clock() - printed_s >= PLAIN_EVERY_S:
                printed_s = self.clock()
                self.notify(f"{name}: {_done(at_s, seconds, size)}")

        return advance


def length(seconds: float) -> str:
    """`1:02:03`, `2:03`, `0:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _done(at_s: float, seconds: float, size: int) -> str:
    return f"{length(at_s)} of {length(seconds)}, {size / _MB:.1f} MB"
