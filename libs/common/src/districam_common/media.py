"""What flows from ingest to recorder: a fragment and what is known of it."""

import re
from dataclasses import dataclass
from typing import Literal

CAMERA_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
EPOCH = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CODECS = re.compile(r"[ -~]{1,200}")
"""RFC 6381; real ones take under 60 characters, and S3 takes 2 KB of metadata in all."""
SITE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")

Ends = Literal["segment", "epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentInfo:
    """All that a consumer must know of a fragment without opening it. Intervals are decode time, half-open, in µs UTC.

    Attributes:
        seq: number in the epoch, from 0; a missing one is a loss.
        init_length: bytes of `ftyp` + `moov` at the front of the value, the same bytes in the whole epoch.
        is_keyframe: whether the first access unit can be decoded alone.
        starts_segment: whether ingest cut a segment here.
        ends: what ends after this fragment, if anything.
        lost_packets, damaged: packets known to be missing, pictures known to be incomplete.
        codecs: RFC 6381, such as `avc1.640028`.
        camera_start_us: the camera's own clock at the first access unit, if it has said one.
    """

    camera_id: str
    epoch: str
    seq: int
    start_us: int
    duration_us: int
    init_length: int
    is_keyframe: bool
    starts_segment: bool
    ends: Ends | None
    access_units: int
    codecs: str
    width: int
    height: int
    lost_packets: int = 0
    damaged: int = 0
    camera_start_us: int | None = None

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us


@dataclass(frozen=True, slots=True)
class Fragment:
    """One `moof` + `mdat` behind its epoch's init: `value` is playable alone."""

    info: FragmentInfo
    value: bytes

    @property
    def init(self) -> bytes:
        return self.value[: self.info.init_length]

    @property
    def media(self) -> bytes:
        return self.value[self.info.init_length :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """A keyframe as JPEG; `seq` is that of the fragment which starts with it."""

    camera_id: str
    epoch: str
    seq: int
    at_us: int
    width: int
    height: int
    jpeg: bytes
