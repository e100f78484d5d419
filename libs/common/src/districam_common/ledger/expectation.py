"""When a camera should be recorded: the revisions of its record, by the broker's clock (docs/design/accounting.md, The ledger)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from districam_common.contract.events import Camera
from districam_common.contract.segment_array import SegmentArray
from districam_common.ledger.causes import FOREVER, RETRY_MARGIN_US, StatusChange
from districam_common.ledger.intervals import Interval, merge

EXPECTED_AFTER_US = RETRY_MARGIN_US
"""A new or newly enabled camera that nobody has spoken of yet is expected this much later."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of a camera's record, and when the log took it, by the broker's clock; None: nobody knows."""

    camera: Camera
    appended_us: int | None = None

    @property
    def effective_from_us(self) -> int:
        """Since when it is in force: no clock of an operator's decides that, where the broker's is known."""
        return self.camera.updated_us if self.appended_us is None else self.appended_us


def distinct_revisions(revisions: Iterable[Revision]) -> list[Revision]:
    """Each revision once, in the order given: as the log took it first, where that is known."""
    found: dict[Camera, int | None] = {}
    for one in revisions:
        known_us = [us for us in (found.get(one.camera), one.appended_us) if us is not None]
        found[one.camera] = min(known_us, default=None)
    return [Revision(camera, appended_us) for camera, appended_us in found.items()]


def expected_intervals(
    revisions: Iterable[Revision], segments: SegmentArray, changes: Sequence[StatusChange]
) -> list[Interval]:
    """When the camera should be recorded, merged: while enabled, from the first word of it, at the latest 30 s on.

    A word is an event or a segment. If the log is a copy of another, it took the camera's first revision long after the
    camera was first spoken of: so there the first word counts from the instant on that the revision itself names.
    """
    reported_us = np.array([word.reported_us for word in changes], dtype=np.int64)
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
    """While which the camera is wanted, merged; the first revision from the earlier of its two instants on."""
    starts = [one.effective_from_us for one in ordered]
    ends = [*starts[1:], FOREVER]
    if ordered:
        starts[0] = min(starts[0], ordered[0].camera.updated_us)
    stretches = zip(ordered, starts, ends, strict=False)
    return merge((from_us, to_us) for one, from_us, to_us in stretches if one.camera.is_expected)
