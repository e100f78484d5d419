"""One segment as the index stores it. Separate from `segment_array`, so that modules that only name objects need no numpy."""

from dataclasses import dataclass

STARTS_WITH_KEYFRAME = 0x01
LOSSY = 0x02


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """One stored segment as the index stores it; `flags` are `STARTS_WITH_KEYFRAME` and `LOSSY`."""

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
