"""What came of fuzzing one target for a while."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

OnProgress = Callable[[str], None]
"""Is told how it goes, in a few words."""


@dataclass(kw_only=True)
class RunResult:
    """Attributes:
    seconds: how long inputs were run.
    executions: inputs that were run.
    edges: places in the code that the inputs reached, the kept ones included; of the api, routes and statuses.
    findings: files, each an input that broke a promise.
    """

    seconds: float = 0.0
    executions: int = 0
    edges: int = 0
    findings: list[Path] = field(default_factory=list[Path])
