"""Limits of folders and single modules in a package, and of imports between them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMITS = {"services/ingest/src/districam_ingest": (14, 40), "libs/common/src/districam_common": (12, 30)}


def _place(package: Path, module: str) -> str:
    """The folder below the package, or the module itself."""
    first = module.split(".")[1]
    return first if (package / first).is_dir() or (package / f"{first}.py").is_file() else ""


def _arrows(package: Path) -> set[tuple[str, str]]:
    out: set[tuple[str, str]] = set()
    for path in package.rglob("*.py"):
        here = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(package.name):
                names = (
                    [node.module]
                    if node.module != package.name
                    else [f"{node.module}.{one.name}" for one in node.names]
                )
                out |= {(here, _place(package, name)) for name in names}
    return {(a, b) for a, b in out if a != b and b}


@pytest.mark.parametrize("package", LIMITS)
def test_a_package_has_few_folders_and_few_imports_between_them(package: str):
    most_places, most_arrows = LIMITS[package]
    arrows = _arrows(ROOT / package)
    places = {place for arrow in arrows for place in arrow}
    assert 5 < len(places) <= most_places, sorted(places)
    assert len(places) <= len(arrows) <= most_arrows, sorted(arrows)
