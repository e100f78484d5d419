"""One segment as the index knows it. Apart from the arrays of many: whoever names objects need not load numpy."""

from dataclasses import dataclass

STARTS_WITH_KEYFRAME = 0x01
LOSSY = 0x02


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """One stored segment as the index knows it."""

    epoch: str
    first_seq: int
    last_seq: int
    start_us: int
    end_us: int
    bytes: int
    init_bytes: int
    flags: int

    @property
    def starts_with_keyframe(self) -> bool:
        return bool(self.flags & STARTS_WITH_KEYFRAME)

    @property
    def is_lossy(self) -> bool:
        return bool(self.flags & LOSSY)
