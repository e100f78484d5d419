"""Epoch ids: UUIDv7 (RFC 9562 section 5.7), which sorts by time."""

import uuid


def epoch_id(now_us: int, random: bytes) -> str:
    """Returns the id of an epoch that starts at `now_us` (µs UTC); `random` is 10 bytes."""
    value = (now_us // 1000 & (1 << 48) - 1) << 80 | int.from_bytes(random, "big")  # unix_ts_ms, rand_a, rand_b
    value = value & ~(0xF << 76) | 0x7 << 76  # ver
    value = value & ~(0x3 << 62) | 0x2 << 62  # var
    return str(uuid.UUID(int=value))
