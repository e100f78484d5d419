"""Classifies every sent picture as stored, in a gap or unaccounted.

Inputs are the cameras' send log, the stored bytes and the ledger's answer. It uses no service code, because it
checks the services.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from districam_devkit.api_client import TimelineState
from districam_devkit.bitstream import StoredPicture
from districam_devkit.simcam.send_log import SentPicture

UNEXCUSED_CAUSES = frozenset({"pipeline_loss", "unknown"})
"""Causes that excuse no missing picture: both mean a defect of the pipeline."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Half-open, µs UTC."""

    from_us: int
    to_us: int

    def contains(self, at_us: int, tolerance_us: int) -> bool:
        return self.from_us - tolerance_us <= at_us < self.to_us + tolerance_us


@dataclass(frozen=True, slots=True)
class CameraRecord:
    """A camera's run: what it sent, what is stored, and the timeline's gaps.

    Attributes:
        stored: pictures of every object in the bucket, copies included.
        played_numbers: running numbers that a playlist of the whole window yields, in its order.
        lossy_intervals: intervals of stored segments that are flagged as lossy.
    """

    sent: Sequence[SentPicture]
    stored: Sequence[StoredPicture]
    played_numbers: Sequence[int]
    timeline: Sequence[TimelineState]
    lossy_intervals: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of access units."""

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
    """Median distance of two pictures, µs: the tolerance at a gap's edges."""
    steps = sorted(b.sent_us - a.sent_us for a, b in pairwise(sent))
    return steps[len(steps) // 2] if steps else 40_000


def count(record: CameraRecord) -> Counts:
    """Puts each of one camera's pictures in exactly one of stored, before the first keyframe, in a gap, unaccounted."""
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
    """Sums the counts of all cameras."""
    return sum(counts.values(), Counts())
