"""How far the truth has got: a recorder's `log_us` holds once all that was announced before it stands in the index."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from districam_common.contract import names
from districam_common.kafka.marks import Mark

Place = tuple[str, int]
"""Topic and partition."""

_EXACT = 1 << 53


def log_us_of(metadata: str) -> int | None:
    """The `log_us` in a recorder's commit; None when there is none to be read."""
    try:
        found: Any = json.loads(metadata)["log_us"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if type(found) is int and 0 <= found < _EXACT else None


def places_of(partition: int, count: int) -> frozenset[Place]:
    """Where announcements and events of a partition of `fragments` are found in the `count` partitions of the others.

    Cameras keep the remainder, as `count` divides the number of partitions; that the partition itself fell off the log
    is told under its number.
    """
    fell = names.partition_of(str(partition), count)
    own = {(topic, partition % count) for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION)}
    return frozenset(own | {(names.STREAMS, fell)})


def progress(
    told: Mapping[int, int],
    ends: Mapping[Place, int],
    applied: Mapping[Place, int],
    logged: Mapping[int, int],
    *,
    count: int,
) -> dict[int, int]:
    """What may be written to `dc1:logged` now: partition of `fragments` → `log_us`.

    Args:
        told: partition of `fragments` → `log_us` in the recorder's commit, read first.
        ends: ends of `segments`, `streams` and `retention`, asked for after `told` was read: all said before it lies below.
        applied: next offset that the index does not hold yet.
        logged: what stands there; it never falls.
        count: partitions of `segments`, of `streams`, and of `retention`.
    """
    passed = {place for place, end in ends.items() if applied.get(place, 0) >= end}
    return {
        partition: log_us
        for partition, log_us in told.items()
        if log_us > logged.get(partition, -1) and places_of(partition, count) <= passed
    }


def position(
    stated: int | None,
    first: int,
    end: int,
    *,
    read: Sequence[Mark] = (),
    survivor: Mark | None = None,
) -> tuple[int, str]:
    """Where to go on reading, and what is wrong with that, if anything is.

    Args:
        stated: what the index says it holds up to.
        first: the log's first offset.
        end: the offset that its next record gets.
        read: which records the index says it has read, the last one first.
        survivor: the first of these that the log still has.
    """
    if stated is None:
        return first, ""
    if stated < first:
        return first, f"the log begins at {first}: {first - stated} records were never indexed"
    if is_checked(read, first) and survivor != read[0]:
        offset = min(stated, first if survivor is None else survivor.offset + 1)
        return offset, f"the log has not what was read at {read[0].offset}: it is read again from {offset} on"
    if stated > end:
        return first, f"the log ends at {end}: the topic was made anew"
    return stated, ""


def is_checked(read: Sequence[Mark], first: int) -> bool:
    """Whether the log can tell that it is the one that was read: it must reach back so far."""
    return bool(read) and read[0].offset >= first
