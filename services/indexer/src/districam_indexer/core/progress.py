"""Watermarks: a recorder's `log_us` is valid for the index once everything announced before it is applied."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from districam_common.contract import names
from districam_common.kafka.marks import Mark

TopicPartition = tuple[str, int]
"""Topic and partition."""

_MAX_EXACT_INT = 1 << 53


def parse_commit_watermark_us(metadata: str) -> int | None:
    """The `log_us` in the metadata of a recorder's commit; None if missing or invalid."""
    try:
        log_us: Any = json.loads(metadata)["log_us"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return log_us if type(log_us) is int and 0 <= log_us < _MAX_EXACT_INT else None


def announcement_partitions(partition: int, count: int) -> frozenset[TopicPartition]:
    """Partitions of the other topics (`count` each) with the announcements and events of a `fragments` partition.

    A camera's partition modulo `count` is the same in all topics, as `count` divides the number of
    `fragments` partitions. Truncation events have the partition's number as their key.
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
    """Watermarks to write to `dc1:logged`: partition of `fragments` → `log_us`.

    Args:
        committed: partition of `fragments` → `log_us` in the recorder's commit, read first.
        ends: end offsets of `segments`, `streams` and `retention`, read after `committed`: everything
            announced before the commit is below them.
        applied: next offset to apply.
        watermarks: the present ones, which are never lowered.
        count: number of partitions of `segments`, of `streams`, and of `retention`.
    """
    caught_up = {partition for partition, end in ends.items() if applied.get(partition, 0) >= end}
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
    """The offset to resume at, and a description of the problem; empty if there is none.

    Args:
        applied: next offset to apply according to the index; None if unknown.
        beginning_offset: the log's first offset.
        end_offset: the offset of the log's next record.
        read_marks: marks of the records that the index has read, the last one first.
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
        return (offset, f"the log no longer has the record read at {read_marks[0].offset}: reading again from {offset}")
    if applied > end_offset:
        return beginning_offset, f"the log ends at {end_offset}, before {applied}: the topic was recreated"
    return applied, ""


def is_verifiable(read_marks: Sequence[Mark], beginning_offset: int) -> bool:
    """Whether the log reaches back to the last record read, so that it can be verified to be the same log."""
    return bool(read_marks) and read_marks[0].offset >= beginning_offset
