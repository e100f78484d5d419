"""The tree keeps its own rules: budgets of functions and files, and what must never be committed."""

import ast
import re
import subprocess
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


@pytest.mark.parametrize("module", ["time", "asyncio", "socket"])
def test_cores_read_no_clock(module: str) -> None:
    """import-linter says so too; this one names the line without it."""
    cores = [path for path in SOURCES if "core" in path.parts]
    assert cores
    pattern = re.compile(rf"^\s*(import|from) {module}\b", re.MULTILINE)
    assert [str(p.relative_to(ROOT)) for p in cores if pattern.search(p.read_text())] == []


def test_each_suppression_in_the_sources_says_why() -> None:
    """A reason follows the rule's name; of one for a whole file, the line above has it."""
    bare = re.compile(
        r"(?<!ruff: )(noqa: [A-Z0-9, ]+|(pyright|type): ignore\[[\w, ]+\])\s*$|noqa\s*$|: ignore\s*$"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*SOURCES, *ROOT.glob("deploy/*.py")]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line)
    ]
    assert found == []


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    )
    return [ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).is_file()]


def test_no_download_address_is_committed() -> None:
    """Lock files are where they creep in."""
    files = [
        p
        for p in _tracked()
        if p != Path(__file__) and p.suffix in {".txt", ".in", ".toml", ".json", ".xml", ".yml", ".yaml"}
    ]
    assert files
    assert [str(p.relative_to(ROOT)) for p in files if DOWNLOAD.search(p.read_text(errors="replace"))] == []
