"""Epoch ids: UUIDv7 (RFC 9562 section 5.7), so that epochs sort by time."""

import uuid


def epoch_id(now_us: int, random: bytes) -> str:
    """The id of an epoch that starts now; `random` are ten bytes."""
    value = (now_us // 1000 & (1 << 48) - 1) << 80 | int.from_bytes(random, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
