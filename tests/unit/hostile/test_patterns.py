"""No regular expression can be made slow: time grows with the length of the text, not with its square."""

# What a pattern takes and gives depends on whether it is of text or of bytes:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from support.patterns import SOURCES, PatternUse, find_inline_patterns, find_pattern_uses, worst_cases

pytestmark = pytest.mark.hostile

SHORT, LONG = 16 << 10, 64 << 10
GROWTH_MOST = 5.0
"""Linear is 4; quadratic is 16."""
TOO_QUICK_TO_TELL_S = 0.004
"""A quadratic pattern that takes this long for 64 KiB needs 16 times the length to take a sixteenth of a second."""
TRIES = 3
TOO_SLOW_S = 0.25
"""No pattern may hold an event loop up for so long with 16 KiB."""

HARDEST = frozenset({"finditer", "fullmatch"})
"""What is assumed of a pattern that is handed on under another name."""

ROWS = find_pattern_uses()


def test_every_pattern_has_a_name_so_that_none_is_left_out():
    assert find_inline_patterns() == []
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=[row.where for row in ROWS])
def test_four_times_the_text_takes_at_most_five_times_as_long(row: PatternUse):
    for method in sorted(row.methods or HARDEST):
        assert _growth(row.pattern, method) <= GROWTH_MOST, f"{row.where}.{method}"


def test_pydantic_matches_its_patterns_with_an_engine_that_does_not_backtrack():
    """`pattern=` of a field, a query or a setting: Rust's regex is linear in the text, whatever the pattern."""
    chosen = [path for source in SOURCES for path in source.rglob("*.py") if "regex_engine" in path.read_text()]
    assert chosen == []


def test_a_pattern_that_is_quadratic_is_found():
    lengths = 1 << 9, 1 << 11
    long_name = re.compile(r"([\w-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,]*))")
    assert _growth(long_name, "finditer", lengths) > GROWTH_MOST
    assert _growth(re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s?#]*@"), "sub", lengths) > GROWTH_MOST


def _growth(pattern: re.Pattern[Any], method: str, lengths: tuple[int, int] = (SHORT, LONG)) -> float:
    """How much longer the hardest text takes than its like of a quarter of the length; 1 if even that is quick."""
    worst = 1.0
    for short, long in zip(*(worst_cases(pattern, length) for length in lengths), strict=True):
        if _seconds(pattern, method, short, 1) > TOO_SLOW_S:
            return float("inf")
        first = _seconds(pattern, method, long, 1)
        if first <= TOO_QUICK_TO_TELL_S:
            continue
        growth = min(_ratio(pattern, method, short, long) for _ in range(TRIES))
        if (
            growth > GROWTH_MOST
        ):  # a busy machine makes a linear pattern look slow for a while, never a quadratic one quick
            growth = min(growth, *(_ratio(pattern, method, short, long) for _ in range(4 * TRIES)))
        if growth > GROWTH_MOST:
            return growth
        worst = max(worst, growth)
    return worst


def _ratio(pattern: re.Pattern[Any], method: str, short: Any, long: Any) -> float:
    return _seconds(pattern, method, long, TRIES) / _seconds(pattern, method, short, TRIES)


def _seconds(pattern: re.Pattern[Any], method: str, text: Any, tries: int) -> float:
    apply = _applying(pattern, method)
    times: list[float] = []
    for _ in range(tries):
        began = time.thread_time()
        apply(text)
        times.append(time.thread_time() - began)
    return max(min(times), 1e-6)


def _applying(pattern: re.Pattern[Any], method: str) -> Callable[[Any], object]:
    if method == "finditer":
        return lambda text: [found.end() for found in pattern.finditer(text)]
    if method == "sub":
        empty = pattern.pattern[:0]
        return lambda text: pattern.sub(empty, text)
    return getattr(pattern, method)
