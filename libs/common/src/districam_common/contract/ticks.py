"""Exact conversion between media clock ticks and microseconds. RTP video runs at 90 kHz (RFC 6184 section 8.2.1)."""

from typing import Final

VIDEO_RATE: Final = 90_000
RTP_MODULUS: Final = 1 << 32


def to_us(ticks: int, rate: int = VIDEO_RATE) -> int:
    """Ticks to microseconds, rounded to the nearest; exact inverse of `from_us` up to half a tick."""
    return (ticks * 2_000_000 + rate) // (2 * rate)


def from_us(us: int, rate: int = VIDEO_RATE) -> int:
    """Microseconds to ticks, rounded to the nearest."""
    return (us * 2 * rate + 1_000_000) // 2_000_000


def unwrap(stamp: int, near: int, modulus: int = RTP_MODULUS) -> int:
    """Extends a wrapped RTP timestamp: the value congruent to `stamp` nearest to `near` (32 bits at 90 kHz wrap in 13 h)."""
    half = modulus // 2
    return near + (stamp - near + half) % modulus - half
