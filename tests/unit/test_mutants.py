"""The catalogue of mutants matches the sources; only an assertion of the named test kills a mutant."""

from collections import Counter
from pathlib import Path

import pytest

from mutants.mutant import Mutant, StaleError, catalogue
from mutants.workbench import ROOT, Ran, verdict_of

MUTANT = Mutant(
    name="x", why="x", file="libs/a/src/a/core/b.py", old="b", new="c", test="tests/unit/a/test_b.py::test_c"
)


def test_every_mutant_applies_and_names_an_existing_test() -> None:
    wrong: list[str] = []
    for mutant in catalogue():
        try:
            mutant.applied((ROOT / mutant.file).read_text())
        except (OSError, StaleError) as error:
            wrong.append(f"{mutant.name}: {error}")
        if not mutant.has_test(ROOT):
            wrong.append(f"{mutant.name}: there is no {mutant.test}")
    assert wrong == []


def test_mutant_names_are_unique() -> None:
    assert [name for name, count in Counter(mutant.name for mutant in catalogue()).items() if count > 1] == []


@pytest.mark.parametrize("source", ["", "b b"])
def test_a_mutant_whose_text_is_not_found_exactly_once_is_stale(source: str) -> None:
    with pytest.raises(StaleError, match="not once"):
        MUTANT.applied(source)
    assert MUTANT.applied("abd") == "acd"
    assert (MUTANT.member, MUTANT.module) == ("a", "a.core.b")


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "killed"),
        ({"exit_code": 0, "errors": []}, "survived"),
        ({"exit_code": 2}, "broken"),
        ({"test": "tests/unit/a/test_b.py::test_other"}, "broken"),
        ({"test": MUTANT.test + "[one]"}, "killed"),
        ({"when": "setup"}, "broken"),
        ({"is_assertion": False}, "broken"),
        ({"is_imported": False}, "broken"),
        ({"origin": None}, "broken"),
        ({"origin": __file__}, "broken"),
    ],
)
def test_only_an_assertion_of_the_named_test_kills(change: dict[str, object], outcome: str, tmp_path: Path) -> None:
    target = tmp_path / "b.py"
    target.touch()
    facts: dict[str, object] = {
        "exit_code": 1,
        "test": MUTANT.test,
        "when": "call",
        "is_assertion": True,
        "errors": ["AssertionError: x"],
        "is_imported": True,
        "origin": str(target),
        **change,
    }
    result = {name: facts[name] for name in ("test", "when", "is_assertion", "errors")}
    report = {"results": [result], "is_imported": facts["is_imported"], "origin": facts["origin"]}
    exit_code = facts["exit_code"]
    assert isinstance(exit_code, int)
    assert verdict_of(MUTANT, Ran(exit_code, report, ""), target)[0] == outcome
