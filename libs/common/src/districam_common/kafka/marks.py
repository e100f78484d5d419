"""What a reader remembers of a log, so that it notices when the log is another one: it lost its tail, or was made anew.

An offset alone does not tell: a log that lost its tail grows again, and gives the same offsets to other records.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

MARK_AGES_US = tuple(seconds * 1_000_000 for seconds in (15, 45, 135, 405, 1215))
"""A ladder keeps one mark of each of these ages at most, by the log's time. A system that writes to its disk every
half minute loses half a minute; a replica that was elected though it was behind may lose more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a record is known by: its offset, the broker's clock at its append, its `ce_id` (empty if it has none)."""

    offset: int
    append_us: int
    id: str


def add_mark(marks: Sequence[Mark], new: Mark) -> tuple[Mark, ...]:
    """The ladder (newest first) with a newer mark on top. Of the others, the oldest of each age stays, and none too old."""
    kept: dict[int, Mark] = {}
    for mark in marks:
        age_us = new.append_us - mark.append_us
        age_class = next((n for n, limit_us in enumerate(MARK_AGES_US) if age_us < limit_us), None)
        if age_class is not None and mark.offset < new.offset:
            kept[age_class] = mark
    return (new, *kept.values())


def encode_marks(marks: Iterable[Mark]) -> list[list[int | str]]:
    """As JSON holds it: `[offset, append_us, id]` each."""
    return [[mark.offset, mark.append_us, mark.id] for mark in marks]


def decode_marks(found: object) -> tuple[Mark, ...]:
    """The inverse of `dumped`; what is no mark is left out."""
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
