"""docs/cameras.md and the simulator's quirks agree."""

import re
from pathlib import Path

import pytest

from districam_devkit.simcam.behavior import QUIRKS, QUIRKS_BY_MAKE

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/cameras.md").read_text()
ROW = re.compile(r"^\| `([a-z0-9-]+)` \|([^|]*)\|[^|]+\|([^|]+)\|[^|]+\|$", re.MULTILINE)
TEST = re.compile(r"`((?:unit|integration)/[\w/]+\.py)(?:::(test_\w+))?`")


def test_each_quirk_is_documented_with_a_source():
    rows = {match[1]: match for match in ROW.finditer(PAGE)}
    assert list(rows) == list(QUIRKS)
    assert [name for name, row in rows.items() if "](https://" not in row[3]] == []


@pytest.mark.parametrize("make", QUIRKS_BY_MAKE)
def test_each_makes_quirks_have_a_source(make: str):
    cameras = {match[1]: match[2].lower() for match in ROW.finditer(PAGE)}
    assert [quirk for quirk in sorted(QUIRKS_BY_MAKE[make]) if make not in cameras[quirk]] == []


def test_the_named_tests_exist():
    named = TEST.findall(PAGE)
    assert len(named) >= 10
    for file, name in named:
        source = (ROOT / "tests" / file).read_text()
        assert not name or f"def {name}(" in source, f"{file}::{name}"
