"""What flows from ingest to recorder: a fragment and what is known of it."""

import re
from dataclasses import dataclass
from typing import Literal

CAMERA_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
EPOCH = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CODECS = re.compile(r"[ -~]{1,200}")
"""RFC 6381; real ones take under 60 characters, and S3 takes 2 KB of metadata in all."""
SITE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")

EndKind = Literal["segment", "epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentInfo:
    """All that a consumer must know of a fragment without opening it. Intervals are decode time, half-open.

    Attributes:
        camera_id: whose it is.
        epoch: the unbroken run of the stream: a UUIDv7 (RFC 9562) in lower case.
        seq: number in the epoch, from 0 to 2³¹−1; a missing one is a loss.
        start_us: start of the first access unit on our clock, µs UTC.
        duration_us: wall time covered, µs: up to the start of the next access unit, of an epoch's last fragment up to
            its own last picture plus one nominal interval.
        init_length: bytes of `ftyp` + `moov` at the front of the value, the same bytes in the whole epoch.
        is_keyframe: whether the first access unit can be decoded alone.
        starts_segment: `segment` if a segment starts with this fragment, else absent.
        ends: what is complete after this fragment, if anything.
        access_units: pictures in it.
        lost_packets: packets known to be missing in it; absent for 0.
        damaged: pictures known to be incomplete in it; absent for 0.
        codecs: RFC 6381, such as `avc1.640028`.
        width: pixels.
        height: pixels.
        camera_start_us: the first access unit by the camera's own clock, which may be wrong by years; absent if it has
            said none.
    """

    camera_id: str
    epoch: str
    seq: int
    start_us: int
    duration_us: int
    init_length: int
    is_keyframe: bool
    starts_segment: bool
    ends: EndKind | None
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
    """A keyframe as JPEG.

    Attributes:
        epoch: the unbroken run of the stream that it was taken from.
        seq: number of the fragment that starts with it.
        at_us: its instant on our clock, µs UTC.
        width: pixels of the JPEG.
        height: pixels of the JPEG.
    """

    camera_id: str
    epoch: str
    seq: int
    at_us: int
    width: int
    height: int
    jpeg: bytes
