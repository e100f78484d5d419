"""One target in a process of its own: `python -m fuzz.worker TARGET [libFuzzer options]`; `replay TARGET FILE…`.

atheris is not in the locked development requirements: `make fuzz` installs it where it has a wheel.
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
"""Path of an executable that starts this module again: libFuzzer runs subprocesses to merge corpora."""


def silence_logs() -> None:
    """Logs about rejected input are expected."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def main(arguments: Sequence[str]) -> None:
    import atheris  # noqa: PLC0415  # only installed for fuzzing

    silence_logs()
    with atheris.instrument_imports(include=PACKAGES):
        from fuzz.target import run_input  # noqa: PLC0415
        from fuzz.targets import TARGETS  # noqa: PLC0415  # instrumented at import
    target = TARGETS[arguments[0]]
    itself = os.environ.get(EXECUTABLE_VARIABLE, sys.argv[0])
    atheris.Setup([itself, *arguments[1:]], lambda data: run_input(target, data), enable_python_coverage=True)
    atheris.Fuzz()


def replay(name: str, files: Sequence[str]) -> None:
    """Runs the target on each file without coverage; an exception ends it."""
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
