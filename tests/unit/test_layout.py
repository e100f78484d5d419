"""Rules of the source tree: limits of functions and files, and contents that must not be committed."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")])
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
PACKAGE = r"\.(whl|tar\.gz|tgz|jar|crate|deb)"
OPTIONS = ("index", "extra-index", "find")
DOWNLOAD = re.compile(
    "|".join(
        (
            r"https?:" + r"//[^\" ]+" + PACKAGE + r"([#\" ]|$)",
            r"\"resolved\": *\"http",
            *(f"--{option}-(url|links)" for option in OPTIONS),
        )
    ),
    re.MULTILINE,
)


def _functions(path: Path) -> list[tuple[str, int]]:
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_files_are_short() -> None:
    """No source file over 400 lines."""
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := p.read_text().count("\n")) > MAX_FILE_LINES}
    assert not long


def test_functions_are_short() -> None:
    """Median at most 8 lines, nine in ten at most 30, none over 60."""
    found = [one for path in SOURCES for one in _functions(path)]
    assert len(found) > 300
    lengths = [length for _, length in found]
    assert [name for name, length in found if length > MAX_FUNCTION_LINES] == []
    assert median(lengths) <= 8
    assert quantiles(lengths, n=10)[8] <= 30


def _pure() -> list[Path]:
    """Modules and packages without I/O, as listed in import-linter's contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (names,) = [one["source_modules"] for one in contracts if one["id"] == "pure"]
    places = [Path(source, *name.split(".")) for source in ROOT.glob("*/*/src") for name in names]
    return [path for place in places for path in (*place.rglob("*.py"), place.with_suffix(".py")) if path.is_file()]


@pytest.mark.parametrize("module", ["time", "asyncio", "socket"])
def test_pure_modules_read_no_clock(module: str) -> None:
    """import-linter checks this too; this test names the line."""
    pure = _pure()
    assert len(pure) > 60
    pattern = re.compile(rf"^\s*(import|from) {module}\b", re.MULTILINE)
    assert [str(p.relative_to(ROOT)) for p in pure if pattern.search(p.read_text())] == []


def _set(function: ast.AST) -> set[str]:
    """Attributes of `self` that are assigned."""
    return {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _called(function: ast.AST) -> set[str]:
    """Methods of `self` that are called."""
    return {
        node.func.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "self"
    }


def _filled_in_later(one: ast.ClassDef) -> set[str]:
    """Attributes first assigned outside fields, `__init__` and methods that it calls; skips classes with a base."""
    if one.bases:
        return set()
    methods = {n.name: n for n in one.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    fields = {n.target.id for n in one.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    making = [methods[name] for name in ("__init__", "__post_init__") if name in methods]
    making += [methods[name] for method in making for name in _called(method) if name in methods]
    return set[str]().union(*map(_set, methods.values())) - fields.union(*map(_set, making))


def test_no_attribute_is_first_assigned_after_init() -> None:
    """Rule 7 of CONTRIBUTING.md: an object is complete after construction."""
    found = {
        f"{path.relative_to(ROOT)} {node.name}": later
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and (later := _filled_in_later(node))
    }
    assert found == {}


def test_each_lint_suppression_has_a_reason() -> None:
    """The reason follows the rule's name; for a whole file it is in the line above."""
    bare = re.compile(r"(?<!ruff: )(noqa: [A-Z0-9, ]+|(pyright|type): ignore\[[\w, ]+\])\s*$|noqa\s*$|: ignore\s*$")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*SOURCES, *ROOT.glob("deploy/*.py")]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line)
    ]
    assert found == []


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
    return [ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).is_file()]


def test_no_download_address_is_committed() -> None:
    """They tend to appear in lock files."""
    files = [
        p
        for p in _tracked()
        if p != Path(__file__) and p.suffix in {".txt", ".in", ".toml", ".json", ".xml", ".yml", ".yaml"}
    ]
    assert files
    assert [str(p.relative_to(ROOT)) for p in files if DOWNLOAD.search(p.read_text(errors="replace"))] == []
