"""A pytest plugin for a run on a changed copy: which tests failed of what, and which file was really imported.

`MUTANT_REPORT` names the file to write; `MUTANT_MODULE` the changed module, if any.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import Phase, settings

_found: list[dict[str, Any]] = []


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """The conftest has chosen a profile; here a counterexample is enough, it need not be a small one."""
    settings.register_profile(
        "mutants", settings(), phases=(Phase.explicit, Phase.generate), report_multiple_bugs=False, print_blob=False
    )
    settings.load_profile("mutants")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    error = call.excinfo.value if call.excinfo else None
    leaves = [*_leaves(error)] if error else []
    _found.append(
        {
            "test": item.nodeid,
            "when": call.when,
            "is_assertion": bool(leaves) and all(_is_assertion(leaf) for leaf in leaves),
            "errors": [_line(leaf) for leaf in leaves],
        }
    )
    return (yield)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """A task group's errors one by one."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_assertion(error: BaseException) -> bool:
    if isinstance(error, pytest.fail.Exception):
        return "Timeout" not in str(error)
    return isinstance(error, AssertionError)


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}".rstrip(": ")


def pytest_sessionfinish() -> None:
    module = os.environ.get("MUTANT_MODULE", "")
    report = {"results": _found, "is_imported": module in sys.modules, "origin": _origin(module)}
    Path(os.environ["MUTANT_REPORT"]).write_text(json.dumps(report))


def _origin(module: str) -> str | None:
    if not module:
        return None
    if module in sys.modules:
        return sys.modules[module].__file__
    spec = importlib.util.find_spec(module)  # imported by a process of the test's alone, from the same path
    return spec.origin if spec else None
