"""Links and test names in the documents exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)")
TEST = re.compile(r"`(?P<file>(?:unit|contract|integration)/[a-z_/]+\.py|…)(?:::(?P<name>test_\w+))?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    targets = [page.parent / target for target in LINK.findall(page.read_text())]
    assert [str(target) for target in targets if not target.exists()] == []


@pytest.mark.parametrize(("page", "heading"), [("testing.md", "## Bad input"), ("findings.md", "## The findings")])
def test_every_test_named_in_a_table_exists(page: str, heading: str) -> None:
    """`…` stands for the previously named file."""
    text = (ROOT / "docs/design" / page).read_text()
    table = text.partition(heading)[2].partition("\n## ")[0]
    named: list[tuple[str, str | None]] = []
    for match in TEST.finditer(table):
        named.append((named[-1][0] if match["file"] == "…" else match["file"], match["name"]))
    assert len(named) > 25
    for file, name in named:
        source = (ROOT / "tests" / file).read_text()
        assert name is None or f"def {name}(" in source, f"{file}::{name}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/design/*.md")), ids=lambda page: page.name)
def test_design_pages_are_current(page: Path) -> None:
    assert page.read_text().splitlines()[2] == "Status: current."
