"""The members of the camera index: 35 bytes big-endian each, an hour of them decoded as one numpy array."""

import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from districam_common.contract.index_entry import LOSSY, STARTS_WITH_KEYFRAME, IndexEntry

__all__ = [
    "LOSSY",
    "MEMBER_DTYPE",
    "SEGMENT_DTYPE",
    "STARTS_WITH_KEYFRAME",
    "IndexEntry",
    "SegmentArray",
    "array_from_entries",
    "decode_members",
    "decode_scored_members",
    "encode_member",
    "entries_from_array",
    "epoch_text",
]

MEMBER_DTYPE = np.dtype(
    [
        ("epoch", "S16"),
        ("first_seq", ">u4"),
        ("last_seq", ">u4"),
        ("duration_us", ">u4"),
        ("bytes", ">u4"),
        ("init_bytes", ">u2"),
        ("flags", "u1"),
    ]
)
"""Layout of a member of the sorted sets `dc1:seg:*`; its score is `start_us`."""

SEGMENT_DTYPE = np.dtype(
    [
        ("epoch_hi", "<u8"),
        ("epoch_lo", "<u8"),
        ("first_seq", "<i8"),
        ("last_seq", "<i8"),
        ("start_us", "<i8"),
        ("end_us", "<i8"),
        ("bytes", "<i8"),
        ("init_bytes", "<i8"),
        ("flags", "<i8"),
    ]
)
"""Segments of one camera in memory. The epoch's UUID is split into two integers, so that sorting and comparing are exact."""

_EPOCH_DTYPE = np.dtype([("hi", ">u8"), ("lo", ">u8"), ("rest", "V19")])
"""A member's epoch as two integers."""

SegmentArray = NDArray[np.void]


def encode_member(entry: IndexEntry) -> bytes:
    """The member of `entry`, 35 bytes; its score is `entry.start_us`."""
    return (
        _epoch_bytes(entry.epoch)
        + entry.first_seq.to_bytes(4, "big")
        + entry.last_seq.to_bytes(4, "big")
        + (entry.end_us - entry.start_us).to_bytes(4, "big")
        + entry.bytes.to_bytes(4, "big")
        + entry.init_bytes.to_bytes(2, "big")
        + entry.flags.to_bytes(1, "big")
    )


@lru_cache(maxsize=1 << 12)
def _epoch_bytes(epoch: str) -> bytes:
    return uuid.UUID(epoch).bytes


def decode_members(members: Sequence[bytes], starts_us: Sequence[float] | Sequence[int]) -> SegmentArray:
    """Members and their scores as one array of `SEGMENT_DTYPE`, in the order given.

    Raises:
        ValueError: a member is not 35 bytes long, or the numbers of members and scores differ.
    """
    return _decode(members, np.asarray(starts_us, dtype=np.int64))


def decode_scored_members(rows: Sequence[bytes]) -> SegmentArray:
    """As `decode_members`, from a Redis reply WITHSCORES (RESP2): member, score, member, score ….

    Raises:
        ValueError: a member is not 35 bytes long, or a score is no number.
    """
    scores = rows[1::2]
    try:
        starts_us = np.fromiter(map(int, scores), np.int64, len(scores))
    except ValueError:  # Redis writes some doubles with a decimal point or an exponent
        found = np.array(scores, dtype="S24").astype(np.float64)
        if not np.isfinite(found).all():
            raise ValueError("a score is no instant") from None
        starts_us = found.astype(np.int64)
    return _decode(rows[::2], starts_us)


def _decode(members: Sequence[bytes], starts_us: NDArray[np.int64]) -> SegmentArray:
    joined = b"".join(members)
    sizes_differ = len(set(map(len, members)) - {MEMBER_DTYPE.itemsize}) > 0
    if sizes_differ or len(starts_us) != len(members):
        raise ValueError("index members must be 35 bytes, with one score each")
    raw = np.frombuffer(joined, dtype=MEMBER_DTYPE)
    halves = np.frombuffer(joined, dtype=_EPOCH_DTYPE)
    out = np.empty(len(raw), dtype=SEGMENT_DTYPE)
    out["epoch_hi"], out["epoch_lo"] = halves["hi"], halves["lo"]
    out["start_us"] = starts_us
    out["end_us"] = out["start_us"] + raw["duration_us"].astype(np.int64)
    for name in ("first_seq", "last_seq", "bytes", "init_bytes", "flags"):
        out[name] = raw[name]
    return out


def array_from_entries(entries: Iterable[IndexEntry]) -> SegmentArray:
    """Entries as an array of `SEGMENT_DTYPE`."""
    rows = [
        (*_epoch_halves(e.epoch), e.first_seq, e.last_seq, e.start_us, e.end_us, e.bytes, e.init_bytes, e.flags)
        for e in entries
    ]
    return np.array(rows, dtype=SEGMENT_DTYPE)


def entries_from_array(array: SegmentArray) -> list[IndexEntry]:
    """The array's rows as entries, in order."""
    return [
        IndexEntry(
            epoch=epoch_text(hi, lo),
            first_seq=first,
            last_seq=last,
            start_us=start,
            end_us=end,
            bytes=size,
            init_bytes=init,
            flags=flags,
        )
        for hi, lo, first, last, start, end, size, init, flags in array.tolist()
    ]


def _epoch_halves(epoch: str) -> tuple[int, int]:
    value = uuid.UUID(epoch).int
    return value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF


@lru_cache(maxsize=1 << 12)
def epoch_text(hi: int, lo: int) -> str:
    """The UUID as text, from its upper and lower 64 bits."""
    return str(uuid.UUID(int=hi << 64 | lo))
