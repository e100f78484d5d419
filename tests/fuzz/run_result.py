"""The result of fuzzing one target."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

OnProgress = Callable[[str], None]
"""Callback for a short progress text."""


@dataclass(kw_only=True)
class RunResult:
    """Totals of a run.

    Attributes:
        seconds: how long inputs were run.
        executions: inputs that were run.
        edges: coverage reached, kept inputs included; for the api, pairs of route and status.
        findings: files with inputs that failed.
    """

    seconds: float = 0.0
    executions: int = 0
    edges: int = 0
    findings: list[Path] = field(default_factory=list[Path])
