"""What to drop when Kafka is behind, or when a picture is larger than a record may be: the rest of the GOP, never its middle.

What is dropped is counted and told as a range.
"""

from dataclasses import dataclass
from typing import Final

from districam_common.contract.events import Cause
from districam_ingest.units import Cut

TELL_EVERY_US: Final = 10_000_000
UNIT_MAX_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedRange:
    """Consecutive fragments that were dropped."""

    first_seq: int
    last_seq: int
    start_us: int
    end_us: int
    access_units: int
    bytes: int
    cause: Cause


class Shedder:
    """Decides for one epoch's fragments, in order. What it gives back is to be sent in that order."""

    def __init__(self) -> None:
        self._dropped: ShedRange | None = None  # figures only: what is shed shall not stay in memory
        self._cause: Cause | None = (
            None  # why fragments are dropped up to the next keyframe; None: they are sent
        )

    def offer(self, cut: Cut, *, has_room: bool) -> list[Cut | ShedRange]:
        """A fragment to send, or none if it is dropped; before it the range that was dropped, also told every 10 s."""
        if cut.units[0].is_keyframe or self._cause is None:
            self._cause = _cause_to_shed(cut, has_room=has_room)
        if self._cause is None:
            return [*self.tell(), cut]
        return self._drop(cut, self._cause)

    def tell(self) -> list[Cut | ShedRange]:
        """The range dropped since the last telling, if any; also to be called at the epoch's end."""
        told, self._dropped = self._dropped, None
        return [] if told is None else [told]

    def _drop(self, cut: Cut, cause: Cause) -> list[Cut | ShedRange]:
        due: list[Cut | ShedRange] = []
        before = self._dropped
        if before is not None and (before.cause != cause or cut.end_us - before.start_us > TELL_EVERY_US):
            due = self.tell()
        self._dropped = _with(self._dropped, cut, cause)
        return due


def _cause_to_shed(cut: Cut, *, has_room: bool) -> Cause | None:
    """None: it can be sent."""
    if cut.size > UNIT_MAX_BYTES:
        return "stream_error"
    return None if has_room else "shed_backpressure"


def _with(dropped: ShedRange | None, cut: Cut, cause: Cause) -> ShedRange:
    """The range and the fragment that follows it."""
    return ShedRange(
        first_seq=dropped.first_seq if dropped else cut.seq,
        last_seq=cut.seq,
        start_us=dropped.start_us if dropped else cut.start_us,
        end_us=cut.end_us,
        access_units=(dropped.access_units if dropped else 0) + len(cut.units),
        bytes=(dropped.bytes if dropped else 0) + cut.size,
        cause=cause,
    )
