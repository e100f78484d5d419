"""Truncates the log of a stopped Kafka's partition, like a power failure before data was flushed to disk."""

import struct
from pathlib import Path

_FRONT = struct.Struct(">qi")
"""Base offset, and length of the rest of the batch (Kafka documentation, Message Format)."""
_LAST_OFFSET_DELTA_AT, _LAST_DELTA = 23, struct.Struct(">i")


def truncate_tail(data_dir: Path, topic: str, partition: int, end_offset: int) -> int:
    """Removes whole batches from the end until every offset is below `end_offset`; returns the new end offset."""
    folder = data_dir / f"{topic}-{partition}"
    end = 0
    for segment in sorted(folder.glob("*.log")):
        data = segment.read_bytes()
        size, end = _kept_batches(data, end_offset, int(segment.stem))
        if size < len(data):
            with segment.open("r+b") as file:
                file.truncate(size)
            for later in folder.glob("*.log"):
                if int(later.stem) > int(segment.stem):
                    later.unlink()
            return end
    return end


def log_end_offset(data_dir: Path, topic: str, partition: int) -> int:
    """The offset of the next record."""
    newest = max((data_dir / f"{topic}-{partition}").glob("*.log"))
    return _kept_batches(newest.read_bytes(), 1 << 62, int(newest.stem))[1]


def _kept_batches(data: bytes, keep: int, first: int) -> tuple[int, int]:
    """Length of the whole batches with offsets below `keep`, and the offset after them."""
    at, end = 0, first
    while at + _LAST_OFFSET_DELTA_AT + _LAST_DELTA.size <= len(data):
        offset, length = _FRONT.unpack_from(data, at)
        if length <= 0 or at + _FRONT.size + length > len(data):  # preallocated or truncated
            break
        next_offset = offset + _LAST_DELTA.unpack_from(data, at + _LAST_OFFSET_DELTA_AT)[0] + 1
        if next_offset > keep:
            break
        at, end = at + _FRONT.size + length, next_offset
    return at, end
