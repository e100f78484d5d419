"""Compares bucket and index for a day of a camera: missing and surplus segments, copies, overlaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from districam_common.contract import segment_array
from districam_common.contract.segment_array import SegmentArray
from districam_common.ledger.causes import LoggedEvent, order_by_seq
from districam_common.ledger.cover import unexplained_overlaps
from districam_common.ledger.intervals import total

Members = Mapping[bytes, int]
"""Member of the index → its score."""

MIN_MATCH_RATIO = 0.5
"""With less than this fraction of the indexed segments, the bucket is taken for another or incomplete one."""


@dataclass(slots=True)
class Findings:
    """Counts over everything compared, and a few examples of each kind.

    Attributes:
        objects: segments stored.
        indexed: segments indexed.
        missing: indexed but not stored.
        surplus: stored but not indexed.
        copies: segments all of whose fragments another segment of their epoch has too.
        overlapping_us: time with two stored epochs that no handover explains.
        versioned: keys with more than one version, although objects are written once.
        deleted: keys with a delete marker.
        read: objects read completely, `read_bytes` in all.
        altered: of those read, the ones that differ from the announced sha256 or from that of their metadata.
        unproven: of those read, the ones without either.
        announced: announcements in the log; None if it was not read.
    """

    objects: int = 0
    indexed: int = 0
    missing: int = 0
    surplus: int = 0
    copies: int = 0
    overlapping_us: int = 0
    versioned: int = 0
    deleted: int = 0
    read: int = 0
    read_bytes: int = 0
    altered: int = 0
    unproven: int = 0
    announced: int | None = None
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    @property
    def is_consistent(self) -> bool:
        """Whether index and bucket agree and every object is as written. Overlaps and copies do not count."""
        return not (self.missing or self.surplus or self.versioned or self.deleted or self.altered)

    def add_example(self, kind: str, example: str) -> None:
        """Adds an example, up to five of each kind."""
        examples = self.examples.setdefault(kind, [])
        if len(examples) < 5:
            examples.append(example)

    def inconclusive_reason(self) -> str | None:
        """Why nothing can be concluded from the bucket; None if it can."""
        if not self.indexed:
            return None
        if not self.objects:
            return f"the bucket looks empty, but {self.indexed} segments are indexed"
        if self.indexed - self.missing < self.indexed * MIN_MATCH_RATIO:
            matching = self.indexed - self.missing
            return f"the bucket looks like another one: it has {matching} of {self.indexed} indexed segments"
        return None


def diff_members(stored: Members, indexed: Members) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """(indexed and not stored, stored and not indexed)."""
    missing = {member: at for member, at in indexed.items() if stored.get(member) != at}
    surplus = {member: at for member, at in stored.items() if indexed.get(member) != at}
    return missing, surplus


def array_from_members(members: Members) -> SegmentArray:
    """Decodes members, sorted by start time."""
    rows = sorted(members.items(), key=lambda item: item[1])
    return segment_array.decode_members([member for member, _ in rows], [at for _, at in rows])


def overlapping_us(segments: SegmentArray, events: Sequence[LoggedEvent]) -> int:
    """Total time with two stored epochs that no handover explains."""
    return total(unexplained_overlaps(segments, events))


def count_copies(segments: SegmentArray) -> int:
    """Number of segments all of whose fragments another segment of their epoch has too."""
    rows = segments[order_by_seq(segments)]
    if not len(rows):
        return 0
    is_new_epoch = np.concatenate(
        ([True], (rows["epoch_hi"][1:] != rows["epoch_hi"][:-1]) | (rows["epoch_lo"][1:] != rows["epoch_lo"][:-1]))
    )
    rank = (np.cumsum(is_new_epoch) << 33) + rows["last_seq"]
    before = np.concatenate(([-1], np.maximum.accumulate(rank)[:-1]))
    return int(np.count_nonzero(~is_new_epoch & (rank <= before)))
