"""Fragments of valid box structure without playable content, for code that only moves them."""

import struct
from uuid import UUID

from districam_common.contract.media import EndKind, Fragment, FragmentInfo

S = 1_000_000
T0 = 1_790_000_000 * S
"""An instant in 2026."""


def epoch_id(number: int) -> str:
    """A UUIDv7 text; a higher number sorts later."""
    return str(UUID(int=(0x0192_0000_0000 + number) << 80 | 0x7 << 76 | 0x8 << 60 | number))


def box(name: bytes, payload: bytes = b"") -> bytes:
    """An ISO BMFF box (ISO/IEC 14496-12, 4.2)."""
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def make_init(text: str) -> bytes:
    return box(b"ftyp", b"iso5") + box(b"moov", text.encode())


def make_media(text: str, size: int = 0) -> bytes:
    return box(b"moof", text.encode()) + box(b"mdat", text.encode() + bytes(size))


def fragment(
    camera_id: str,
    epoch: str,
    seq: int,
    *,
    start_us: int | None = None,
    duration_us: int = 2 * S,
    starts: bool = False,
    ends: EndKind | None = None,
    size: int = 0,
    init: bytes | None = None,
    lost_packets: int = 0,
) -> Fragment:
    """Fragment `seq` of two seconds and 50 access units; even ones start with a keyframe. `size` adds bytes."""
    front = make_init(epoch) if init is None else init
    info = FragmentInfo(
        camera_id=camera_id,
        epoch=epoch,
        seq=seq,
        start_us=T0 + 2 * S * seq if start_us is None else start_us,
        duration_us=duration_us,
        init_length=len(front),
        is_keyframe=seq % 2 == 0,
        starts_segment=starts,
        ends=ends,
        access_units=50,
        codecs="avc1.640028",
        width=1920,
        height=1080,
        lost_packets=lost_packets,
    )
    return Fragment(info, front + make_media(f"{camera_id}/{epoch}/{seq}", size))
