"""Effects that a partition's log returns: values that describe what the shell must do, in order."""

from dataclasses import dataclass

from districam_recorder.core.assembler import FirstRecord, Segment


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that can never be stored, for `deadletters`. `is_conflict`: another fragment has its place."""

    first: FirstRecord
    key: str
    reason: str
    is_conflict: bool = False


@dataclass(frozen=True, slots=True)
class Truncation:
    """Records lost from the log before they were stored: [from_us, to_us) by the broker's clock."""

    first: FirstRecord
    from_us: int
    to_us: int


Effect = Segment | Rejection | Truncation
