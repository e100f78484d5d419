"""Finds every regular expression in the sources with its uses, and builds worst-case texts for it."""

# re's parser has no type stubs:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from re import _constants as codes  # pyright: ignore[reportAttributeAccessIssue]  # no type stubs
from re import _parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES = (*sorted(ROOT.glob("libs/*/src")), *sorted(ROOT.glob("services/*/src")))
EXCLUDED_PACKAGES = ("districam_devkit",)
"""The devkit parses only its own output."""
METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "split")
FUNCTIONS = (*METHODS, "compile")
_LONG = 100
"""A repetition with a higher maximum counts as unbounded."""


@dataclass(frozen=True, slots=True)
class PatternUse:
    """A compiled pattern, and the names of its methods used anywhere."""

    where: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    tree: ast.Module


@cache
def _modules() -> tuple[_Module, ...]:
    found: list[_Module] = []
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")):
            name = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
            if not name.startswith(EXCLUDED_PACKAGES) and path.name != "__main__.py":
                found.append(_Module(name, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(found)


def find_pattern_uses() -> list[PatternUse]:
    """Every module-level `NAME = re.compile(…)`, with the methods of NAME used in any module (`NAME.search(…)`)."""
    uses = _uses()
    out: list[PatternUse] = []
    for module in _modules():
        for name in _compiled_names(module.tree):
            pattern = getattr(importlib.import_module(module.name), name)
            out.append(PatternUse(f"{module.name}.{name}", pattern, frozenset(uses.get(name, ()))))
    return out


def find_inline_patterns() -> list[str]:
    """Places where a pattern is passed to `re` directly, which cannot be listed by name."""
    out: list[str] = []
    for module in _modules():
        named = {id(node.value) for node in module.tree.body if isinstance(node, ast.Assign | ast.AnnAssign)}
        calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and id(node) not in named]
        out += [f"{module.name}:{call.lineno}" for call in calls if _function_of_re(call)]
    return out


def _compiled_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Call) and _function_of_re(value) == "compile":
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target  # pyright: ignore[reportAttributeAccessIssue]
            assert isinstance(target, ast.Name)
            yield target.id


def _function_of_re(call: ast.Call) -> str | None:
    match call.func:
        case ast.Attribute(value=ast.Name(id="re"), attr=name) if name in FUNCTIONS:
            return name
        case _:
            return None


def _uses() -> Mapping[str, set[str]]:
    """For each name, the pattern methods that are called or referenced (`NAME.search`) in any module."""
    out: dict[str, set[str]] = {}
    for module in _modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in METHODS:
                out.setdefault(node.value.id, set()).add(node.attr)
    return out


# ---- worst cases


def worst_cases(pattern: re.Pattern[Any], length: int) -> list[Any]:
    """Texts of about `length` characters that are slow for a backtracking engine.

    For each unbounded repetition: what must precede it, the repeated part many times, then a character that
    cannot match. Also the repeated part with its prefix many times, so that a search can start at many
    positions.
    """
    texts: set[str] = set()
    for before, pump in _pumps(list(_parser.parse(pattern.pattern, pattern.flags))):
        for unit in pump:
            for lead in ("", before):
                for end in ("\x00", "", unit[:1] + "\x00"):
                    texts.add((lead + unit * (length // max(1, len(unit))) + end)[: length + 8])
            both = before + unit * 3
            texts.add(both * (length // max(1, len(both))) + "\x00")
            texts.add(before * (length // max(1, len(before) or 1)) + "\x00")
    ordered = sorted(texts)
    return [text.encode("latin-1", "replace") for text in ordered] if isinstance(pattern.pattern, bytes) else ordered


def _pumps(items: list[Any], before: str = "") -> Iterator[tuple[str, list[str]]]:
    """For each unbounded repetition: an example of what precedes it, and examples of what it repeats."""
    for code, argument in items:
        for inner in _insides(code, argument):
            yield from _pumps(list(inner), before)
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT) and argument[1] > _LONG:
            yield before, _examples(list(argument[2]))
        before += _example([(code, argument)])


def _insides(code: Any, argument: Any) -> list[Any]:
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return [argument[2]]
    if code is codes.SUBPATTERN:
        return [argument[3]]
    if code is codes.ATOMIC_GROUP:
        return [argument]
    if code is codes.BRANCH:
        return list(argument[1])
    return []


def _examples(items: list[Any]) -> list[str]:
    """A few matching texts, one per top-level alternative."""
    if len(items) == 1 and items[0][0] is codes.BRANCH:
        return [_example(list(one)) for one in items[0][1][1]]
    if len(items) == 1 and items[0][0] is codes.SUBPATTERN:
        return _examples(list(items[0][1][3]))
    if len(items) == 1 and items[0][0] is codes.IN:
        return sorted({_character_of_set(items[0][1], wish) for wish in "a0 -\"'=,;:@/"})
    return [_example(items)]


def _example(items: list[Any]) -> str:
    return "".join(_one(code, argument) for code, argument in items)


def _one(code: Any, argument: Any) -> str:  # noqa: PLR0911  # one case per kind of node
    if code is codes.LITERAL:
        return chr(argument)
    if code is codes.NOT_LITERAL:
        return "a" if argument != ord("a") else "b"
    if code is codes.ANY:
        return "a"
    if code is codes.IN:
        return _character_of_set(argument, "a")
    if code is codes.BRANCH:
        return _example(list(argument[1][0]))
    if code is codes.SUBPATTERN:
        return _example(list(argument[3]))
    if code is codes.ATOMIC_GROUP:
        return _example(list(argument))
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return _example(list(argument[2])) * max(1, argument[0])
    return ""  # anchors, look-arounds, references match empty text


def _character_of_set(members: Any, preferred: str) -> str:
    """A character of the set, `preferred` if it is a member."""
    text = _set_text(members)
    pattern = re.compile(text)
    for character in (
        preferred,
        *'a0A_-. =,x"',
        *map(chr, range(32, 127)),
        *map(chr, range(32)),
        *map(chr, range(127, 256)),
    ):
        if pattern.fullmatch(character):
            return character
    raise AssertionError(f"no example for {text}")


_CATEGORIES = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_NOT_WORD: r"\W",
}


def _set_text(members: Any) -> str:
    out = ""
    for code, argument in members:
        if code is codes.NEGATE:
            out += "^"
        elif code is codes.LITERAL:
            out += re.escape(chr(argument))
        elif code is codes.RANGE:
            out += f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}"
        else:
            out += _CATEGORIES[argument]
    return f"[{out}]"
