"""How far the truth has got: a recorder's `log_us` holds once all that was announced before it stands in the index."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from districam_common.contract import names
from districam_common.kafka.marks import Mark

TopicPartition = tuple[str, int]
"""Topic and partition."""

_MAX_EXACT_INT = 1 << 53


def parse_commit_watermark_us(metadata: str) -> int | None:
    """The `log_us` in a recorder's commit; None when there is none to be read."""
    try:
        log_us: Any = json.loads(metadata)["log_us"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return log_us if type(log_us) is int and 0 <= log_us < _MAX_EXACT_INT else None


def announcement_partitions(partition: int, count: int) -> frozenset[TopicPartition]:
    """Where announcements and events of a partition of `fragments` are found in the `count` partitions of the others.

    Cameras keep the remainder, as `count` divides the number of partitions; that the partition itself fell off the log
    is told under its number.
    """
    truncations = names.partition_of(str(partition), count)
    own = {(topic, partition % count) for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION)}
    return frozenset(own | {(names.STREAMS, truncations)})


def advanced_watermarks(
    committed: Mapping[int, int],
    ends: Mapping[TopicPartition, int],
    applied: Mapping[TopicPartition, int],
    watermarks: Mapping[int, int],
    *,
    count: int,
) -> dict[int, int]:
    """What may be written to `dc1:logged` now: partition of `fragments` → `log_us`.

    Args:
        committed: partition of `fragments` → `log_us` in the recorder's commit, read first.
        ends: ends of `segments`, `streams` and `retention`, asked for after `committed` was read: all said before it lies below.
        applied: next offset that the index does not hold yet.
        watermarks: what stands there; it never falls.
        count: partitions of `segments`, of `streams`, and of `retention`.
    """
    caught_up = {place for place, end in ends.items() if applied.get(place, 0) >= end}
    return {
        partition: log_us
        for partition, log_us in committed.items()
        if log_us > watermarks.get(partition, -1) and announcement_partitions(partition, count) <= caught_up
    }


def resume_offset(
    applied: int | None,
    beginning_offset: int,
    end_offset: int,
    *,
    read_marks: Sequence[Mark] = (),
    survivor: Mark | None = None,
) -> tuple[int, str]:
    """Where to go on reading, and what is wrong with that, if anything is.

    Args:
        applied: what the index says it holds up to.
        beginning_offset: the log's first offset.
        end_offset: the offset that its next record gets.
        read_marks: which records the index says it has read, the last one first.
        survivor: the first of these that the log still has.
    """
    if applied is None:
        return beginning_offset, ""
    if applied < beginning_offset:
        return (
            beginning_offset,
            f"the log begins at {beginning_offset}: {beginning_offset - applied} records were never indexed",
        )
    if is_verifiable(read_marks, beginning_offset) and survivor != read_marks[0]:
        offset = min(applied, beginning_offset if survivor is None else survivor.offset + 1)
        return (
            offset,
            f"the log has not what was read at {read_marks[0].offset}: it is read again from {offset} on",
        )
    if applied > end_offset:
        return beginning_offset, f"the log ends at {end_offset}: the topic was made anew"
    return applied, ""


def is_verifiable(read_marks: Sequence[Mark], beginning_offset: int) -> bool:
    """Whether the log can tell that it is the one that was read: it must reach back so far."""
    return bool(read_marks) and read_marks[0].offset >= beginning_offset
