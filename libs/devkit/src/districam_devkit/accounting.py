"""Counts pictures: sent, stored, in gaps, unaccounted. From the cameras' send log, the stored bytes and the ledger's answer.

Nothing here comes from a service's code: it judges them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from districam_devkit.api_client import TimelineState
from districam_devkit.bitstream import StoredPicture
from districam_devkit.simcam.send_log import SentPicture

UNEXCUSED_CAUSES = frozenset({"pipeline_loss", "unknown"})
"""Causes that account for nothing: they are our own fault."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Half-open, µs UTC."""

    from_us: int
    to_us: int

    def contains(self, at_us: int, tolerance_us: int) -> bool:
        return self.from_us - tolerance_us <= at_us < self.to_us + tolerance_us


@dataclass(frozen=True, slots=True)
class CameraRecord:
    """All that is known of a camera's run.

    Attributes:
        stored: pictures of every object in the bucket, copies included.
        played_numbers: running numbers that a player of the whole window is given, in its order.
        lossy_intervals: stored intervals that say of themselves that pictures are missing.
    """

    sent: Sequence[SentPicture]
    stored: Sequence[StoredPicture]
    played_numbers: Sequence[int]
    timeline: Sequence[TimelineState]
    lossy_intervals: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """In access units."""

    sent: int = 0
    before_first_keyframe: int = 0
    stored: int = 0
    in_gaps: int = 0
    unaccounted: int = 0
    duplicates: int = 0
    stored_twice: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def median_frame_interval_us(sent: Sequence[SentPicture]) -> int:
    """The usual distance of two pictures: a gap's edges may be off by as much."""
    steps = sorted(b.sent_us - a.sent_us for a, b in pairwise(sent))
    return steps[len(steps) // 2] if steps else 40_000


def count(record: CameraRecord) -> Counts:
    """One camera's pictures, each in exactly one of stored, before the first keyframe, in a gap, unaccounted."""
    copies = Counter(picture.number for picture in record.stored)
    gaps = [
        Interval(s.from_us, s.to_us) for s in record.timeline if s.state == "gap" and s.cause not in UNEXCUSED_CAUSES
    ]
    edge_us = median_frame_interval_us(record.sent)
    missing = [sent for sent in record.sent if sent.number not in copies]
    early = [sent for sent in missing if sent.before_first_keyframe]
    rest = [sent for sent in missing if not sent.before_first_keyframe]
    explained = [
        sent for sent in rest if any(gap.contains(sent.sent_us, edge_us) for gap in [*gaps, *record.lossy_intervals])
    ]
    return Counts(
        sent=len(record.sent),
        before_first_keyframe=len(early),
        stored=len(copies),
        in_gaps=len(explained),
        unaccounted=len(rest) - len(explained),
        duplicates=len(record.played_numbers) - len(set(record.played_numbers)),
        stored_twice=copies.total() - len(copies),
    )


def total(counts: Mapping[str, Counts]) -> Counts:
    """All cameras together."""
    return sum(counts.values(), Counts())
