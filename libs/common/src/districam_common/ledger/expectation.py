"""When a camera should be recorded, from the revisions of its record (docs/design/accounting.md, The ledger)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from districam_common.contract.events import Camera
from districam_common.contract.segment_array import SegmentArray
from districam_common.ledger.causes import FOREVER, RETRY_MARGIN_US, StatusChange
from districam_common.ledger.intervals import Interval, merge

EXPECTED_AFTER_US = RETRY_MARGIN_US
"""Grace period of a new or newly enabled camera without any event or segment."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of a camera's record, and its append time by the broker's clock; None if unknown."""

    camera: Camera
    appended_us: int | None = None

    @property
    def effective_from_us(self) -> int:
        """When the revision takes effect: its append time, or `updated_us` (the operator's clock) if that is unknown."""
        return self.camera.updated_us if self.appended_us is None else self.appended_us


def distinct_revisions(revisions: Iterable[Revision]) -> list[Revision]:
    """Each revision once, in the order of first appearance, with its earliest known append time."""
    found: dict[Camera, int | None] = {}
    for one in revisions:
        known_us = [us for us in (found.get(one.camera), one.appended_us) if us is not None]
        found[one.camera] = min(known_us, default=None)
    return [Revision(camera, appended_us) for camera, appended_us in found.items()]


def expected_intervals(
    revisions: Iterable[Revision], segments: SegmentArray, changes: Sequence[StatusChange]
) -> list[Interval]:
    """When the camera should be recorded, merged: while enabled, from its first event or segment, after 30 s at the latest.

    In a copied log the first revision's append time is long after the camera's first events and segments; so for the
    first revision, evidence counts from the revision's own `updated_us` on.
    """
    reported_us = np.array([change.reported_us for change in changes], dtype=np.int64)
    evidence = np.sort(np.concatenate((reported_us, segments["start_us"])))
    ordered = sorted(distinct_revisions(revisions), key=lambda one: (one.effective_from_us, one.camera.revision))
    out: list[Interval] = []
    for n, (from_us, to_us) in enumerate(_enabled_intervals(ordered)):
        known_us = max(from_us, ordered[0].effective_from_us) if n == 0 else from_us
        at = int(np.searchsorted(evidence, from_us)) if n else 0
        first_us = int(evidence[at]) if at < len(evidence) else FOREVER
        out.append((max(from_us, min(known_us + EXPECTED_AFTER_US, first_us)), to_us))
    return merge(out)


def _enabled_intervals(ordered: Sequence[Revision]) -> list[Interval]:
    """When the camera is enabled, merged; the first revision counts from the earlier of append time and `updated_us`."""
    starts = [one.effective_from_us for one in ordered]
    ends = [*starts[1:], FOREVER]
    if ordered:
        starts[0] = min(starts[0], ordered[0].camera.updated_us)
    stretches = zip(ordered, starts, ends, strict=False)
    return merge((from_us, to_us) for one, from_us, to_us in stretches if one.camera.is_expected)
