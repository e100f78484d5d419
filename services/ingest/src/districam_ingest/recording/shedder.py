"""Sheds fragments when Kafka is behind or a picture exceeds the record limit: always up to the end of the GOP.

Shed fragments are reported as ranges.
"""

from dataclasses import dataclass
from typing import Final

from districam_common.contract.events import Cause
from districam_ingest.units import UnmuxedFragment

MAX_SHED_RANGE_US: Final = 10_000_000
"""Longer ranges are split, so that ongoing shedding is reported before its time is settled."""
MAX_FRAGMENT_PAYLOAD_BYTES: Final = 8 << 20
"""The producer's `max_request_bytes` less 64 KiB for init, boxes and headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedRange:
    """Consecutive fragments that were shed."""

    first_seq: int
    last_seq: int
    start_us: int
    end_us: int
    access_units: int
    bytes: int
    cause: Cause


class Shedder:
    """Decides which of one epoch's fragments, fed in order, are sent. Its results are to be sent in their order."""

    def __init__(self) -> None:
        self._shed_range: ShedRange | None = None  # no reference to the fragments: their memory must be freed
        self._cause: Cause | None = None  # why fragments are shed up to the next keyframe; None: they are sent

    def feed(self, fragment: UnmuxedFragment, *, has_room: bool) -> list[UnmuxedFragment | ShedRange]:
        """Returns the fragment unless it is shed, preceded by the range shed before it. Long ranges are split at 10 s."""
        if fragment.units[0].is_keyframe or self._cause is None:
            self._cause = _shed_cause(fragment, has_room=has_room)
        if self._cause is None:
            return [*self.drain(), fragment]
        return self._shed(fragment, self._cause)

    def drain(self) -> list[ShedRange]:
        """Returns the range not reported yet, if any; also to be called at the epoch's end."""
        shed_range, self._shed_range = self._shed_range, None
        return [] if shed_range is None else [shed_range]

    def _shed(self, fragment: UnmuxedFragment, cause: Cause) -> list[UnmuxedFragment | ShedRange]:
        due: list[UnmuxedFragment | ShedRange] = []
        previous = self._shed_range
        if previous is not None and (
            previous.cause != cause or fragment.end_us - previous.start_us > MAX_SHED_RANGE_US
        ):
            due = [*self.drain()]
        self._shed_range = _extend_range(self._shed_range, fragment, cause)
        return due


def _shed_cause(fragment: UnmuxedFragment, *, has_room: bool) -> Cause | None:
    """Returns why the fragment cannot be sent, or None."""
    if fragment.size > MAX_FRAGMENT_PAYLOAD_BYTES:
        return "stream_error"
    return None if has_room else "shed_backpressure"


def _extend_range(shed_range: ShedRange | None, fragment: UnmuxedFragment, cause: Cause) -> ShedRange:
    """Returns the range extended by the fragment that follows it."""
    return ShedRange(
        first_seq=shed_range.first_seq if shed_range else fragment.seq,
        last_seq=fragment.seq,
        start_us=shed_range.start_us if shed_range else fragment.start_us,
        end_us=fragment.end_us,
        access_units=(shed_range.access_units if shed_range else 0) + len(fragment.units),
        bytes=(shed_range.bytes if shed_range else 0) + fragment.size,
        cause=cause,
    )
