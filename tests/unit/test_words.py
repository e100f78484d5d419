"""Names are those of the glossary (docs/design/glossary.md): no home-made word in a name, one meaning for a verb."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")])
SUPPORT = sorted(
    path for folder in ("support", "bench", "fuzz", "fault") for path in ROOT.glob(f"tests/{folder}/**/*.py")
)
GLOSSARY = (ROOT / "docs/design/glossary.md").read_text()

WORDS = {
    "ail": "fault", "ailment": "fault", "assault": "attack", "blame": "attribution", "blames": "attribution",
    "blamed": "attributed", "blaming": "attributing", "carriage": "transport header", "consumption": "consumer",
    "crowd": "limiter", "door": "client, adapter", "doors": "dependencies", "doubt": "uncertainty",
    "dropper": "evictor", "endured": "tolerated", "fallen": "truncated", "falls": "truncations", "fell": "truncated",
    "gate": "splitter", "happening": "status event", "hear": "feed audio", "heard": "received", "hearing": "audio",
    "hears": "has audio", "judge": "decide, check", "judged": "decided, checked", "judges": "checks", "least": "min",
    "look": "check, read", "looked": "checked, read", "looking": "scan", "manners": "behavior", "mishaps": "impairment",
    "most": "max", "nobody": "none", "objection": "conflict", "offer": "put", "offers": "puts", "outbox": "send queue",
    "outlets": "sinks", "patience": "timeout, deadline", "reign": "effective period", "reigns": "effective periods",
    "rot": "corruption", "rotten": "corrupt", "said": "reported, message", "saw": "recorded", "say": "report, log",
    "says": "reports", "see": "record, feed", "sees": "records", "sound": "audio", "sounds": "audio",
    "soundtrack": "audio sync", "standing": "position", "stands": "position", "strays": "drift",
    "suffer": "inject fault", "surroundings": "context", "take": "feed, drain, acquire",
    "takes": "feeds", "tell": "report", "tells": "reports", "told": "event, reported", "unstepped": "monotonic",
    "untold": "unreported", "vault": "versioned bucket", "withdraw": "discard", "witness": "explaining event",
    "witnesses": "explaining events",
}  # fmt: skip
"""A home-made word, and what the field says instead."""

WIRE = {
    "clients_most": "a key of the simulator's specification",
    "fell": "a field of a hold's record",
    "manners": "a key of the simulator's specification",
    "retry_most_s": "a setting, `ingest.retry_most_s`",
    "stored_twice": "a field of the demo's report",
}
"""Names that others read, and that therefore stay; and where they do."""

VERBS = {"feed": {"in/-", "in/out"}, "drain": {"-/out", "in/out"}, "acquire": {"-/-", "in/-", "-/out", "in/out"}}
"""Of a verb that moves data: whether a method takes arguments and gives a result. `drain` may be told up to when."""


def parts(name: str) -> list[str]:
    """The words of an identifier, in lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+", name)]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def defined(path: Path) -> Iterator[str]:
    """Every name that a file defines: classes, functions, parameters, variables, attributes."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def home_made(name: str) -> set[str]:
    return set() if name in WIRE else WORDS.keys() & parts(name)


@pytest.mark.parametrize("paths", [SOURCES, SUPPORT], ids=["sources", "support"])
def test_no_name_has_a_home_made_word(paths: list[Path]) -> None:
    assert len(paths) > 40
    found = {
        f"{path.relative_to(ROOT)}: {name}": [f"{word}: {WORDS[word]}" for word in home_made(name)]
        for path in paths
        for name in (path.stem, *defined(path))
        if home_made(name)
    }
    assert found == {}


def test_a_home_made_word_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "gate.py"
    path.write_text("class SoundTrack:\n    def take(self, told): self.outbox = told\nBODY_MOST = 3\n")
    assert {word for name in (path.stem, *defined(path)) for word in home_made(name)} == {
        *("gate", "sound", "take", "told", "outbox", "most")
    }


def shape(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Whether it takes arguments (`in`) and gives a result (`out`)."""
    listed = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    takes = function.args.vararg is not None or any(one.arg not in {"self", "cls"} for one in listed)
    gives = function.returns is not None and ast.unparse(function.returns) != "None"
    return f"{'in' if takes else '-'}/{'out' if gives else '-'}"


def methods() -> dict[str, dict[str, dict[str, list[str]]]]:
    """By package and name: the shapes of the public methods, each with its classes."""
    found: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for path in SOURCES:
        package = path.parts[path.parts.index("src") + 1]
        for one in ast.walk(tree(path)):
            if isinstance(one, ast.ClassDef):
                for method in one.body:
                    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and not method.name.startswith("_"):
                        found[package][method.name][shape(method)].append(one.name)
    return found


def test_a_verb_that_moves_data_moves_it_one_way() -> None:
    """`feed` never only gives, `drain` always gives."""
    found = [
        (package, name, shapes[one])
        for package, names in methods().items()
        for name, shapes in names.items()
        for one in shapes
        if one not in VERBS.get(name, {one})
    ]
    assert found == []
    assert [verb for verb in VERBS if f"`{verb}`" not in GLOSSARY] == []


def test_no_method_means_giving_in_one_class_and_taking_in_another() -> None:
    """In one package. `close` may return the last output; `report_…` may return what is left to report."""
    found = {
        f"{package}: {name}": dict(shapes)
        for package, names in methods().items()
        for name, shapes in names.items()
        if {"-/out", "in/-"} <= shapes.keys() and parts(name)[0] not in {"close", "report"}
    }
    assert found == {}
