"""One target in a process of its own: `python -m fuzz.worker TARGET [what libFuzzer is told]`; `replay TARGET FILE…`.

atheris is not among the locked packages of development: `make fuzz` installs it, where there is a wheel of it.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

PACKAGES = [
    "districam_common",
    "districam_ingest",
    "districam_recorder",
    "districam_indexer",
    "districam_api",
    "districam_client",
]

EXECUTABLE_VARIABLE = "FUZZ_ITSELF"
"""Names an executable that starts this again: libFuzzer compares inputs in processes of their own."""


def silence_logs() -> None:
    """What is passed over is logged, which is not what is looked for."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def main(arguments: Sequence[str]) -> None:
    import atheris  # noqa: PLC0415  # absent where nobody fuzzes

    silence_logs()
    with atheris.instrument_imports(include=PACKAGES):
        from fuzz.target import run_input  # noqa: PLC0415
        from fuzz.targets import TARGETS  # noqa: PLC0415  # instrumented as it is imported
    target = TARGETS[arguments[0]]
    itself = os.environ.get(EXECUTABLE_VARIABLE, sys.argv[0])
    atheris.Setup([itself, *arguments[1:]], lambda data: run_input(target, data), enable_python_coverage=True)
    atheris.Fuzz()


def replay(name: str, files: Sequence[str]) -> None:
    """Runs the target on each file, without coverage; what it raises ends it."""
    from fuzz.target import run_input  # noqa: PLC0415
    from fuzz.targets import TARGETS  # noqa: PLC0415

    silence_logs()
    for file in files:
        run_input(TARGETS[name], Path(file).read_bytes())
        print(f"{file}: nothing wrong")


if __name__ == "__main__":
    if sys.argv[1] == "replay":
        replay(sys.argv[2], sys.argv[3:])
    else:
        main(sys.argv[1:])
