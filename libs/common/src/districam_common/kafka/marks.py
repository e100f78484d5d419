"""Marks of records that were read, to detect that a log was truncated or its topic recreated.

An offset alone is not enough: a truncated log grows again, and gives the same offsets to other records.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

MARK_AGES_US = tuple(seconds * 1_000_000 for seconds in (15, 45, 135, 405, 1215))
"""Age classes; at most one mark of each is kept, by append time. A host that flushes its disk every half minute loses
half a minute; an out-of-sync replica that was elected leader may lose more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Identifies a record: its offset, its append time by the broker's clock, its `ce_id` (empty if it has none)."""

    offset: int
    append_us: int
    id: str


def add_mark(marks: Sequence[Mark], new: Mark) -> tuple[Mark, ...]:
    """`new`, then the oldest of `marks` (newest first) of each age class; marks older than the last class are dropped."""
    kept: dict[int, Mark] = {}
    for mark in marks:
        age_us = new.append_us - mark.append_us
        age_class = next((n for n, limit_us in enumerate(MARK_AGES_US) if age_us < limit_us), None)
        if age_class is not None and mark.offset < new.offset:
            kept[age_class] = mark
    return (new, *kept.values())


def encode_marks(marks: Iterable[Mark]) -> list[list[int | str]]:
    """For JSON: `[offset, append_us, id]` each."""
    return [[mark.offset, mark.append_us, mark.id] for mark in marks]


def decode_marks(found: object) -> tuple[Mark, ...]:
    """The inverse of `encode_marks`; invalid entries are left out."""
    if not isinstance(found, list):
        return ()
    return tuple(mark for one in cast("list[object]", found) if (mark := _decode_mark(one)) is not None)


def _decode_mark(found: object) -> Mark | None:
    if not isinstance(found, list):
        return None
    match cast("list[object]", found):
        case [int(offset), int(append_us), str(name)] if offset >= 0:
            return Mark(offset, append_us, name)
        case _:
            return None
