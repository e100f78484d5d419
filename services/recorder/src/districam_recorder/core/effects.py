"""What a partition's log asks to be done, in the order in which it asks."""

from dataclasses import dataclass

from districam_recorder.core.assembler import FirstRecord, Segment


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that can never be stored: to be told on the dead letters' topic. `is_conflict`: another one stands in its place."""

    first: FirstRecord
    key: str
    reason: str
    is_conflict: bool = False


@dataclass(frozen=True, slots=True)
class Truncation:
    """Records fell off the log before they were stored: [from_us, to_us) by the broker's clock is to be told."""

    first: FirstRecord
    from_us: int
    to_us: int


Effect = Segment | Rejection | Truncation
