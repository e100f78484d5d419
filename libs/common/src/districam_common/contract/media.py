"""Fragments and stills, as ingest sends them and the recorder receives them."""

import re
from dataclasses import dataclass
from typing import Literal

CAMERA_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
EPOCH = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CODECS = re.compile(r"[ -~]{1,200}")
"""RFC 6381. Real values are under 60 characters; S3 limits user metadata to 2 KB in total."""
SITE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")

EndKind = Literal["segment", "epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentInfo:
    """Metadata of a fragment, so that consumers need not parse the MP4. Intervals are decode time, half-open.

    Attributes:
        camera_id: the camera.
        epoch: the unbroken run of the stream: a UUIDv7 (RFC 9562) in lower case.
        seq: number in the epoch, from 0 to 2³¹−1; a missing number is a lost fragment.
        start_us: start of the first access unit on our clock, µs UTC.
        duration_us: wall time covered, µs: up to the start of the next access unit; in an epoch's last fragment up to
            its last picture plus one nominal frame interval.
        init_length: bytes of `ftyp` + `moov` at the front of the value, the same bytes in the whole epoch.
        is_keyframe: whether the first access unit can be decoded alone.
        starts_segment: `segment` if a segment starts with this fragment, else absent.
        ends: what is complete after this fragment; absent if neither a segment nor the epoch is.
        access_units: number of pictures.
        lost_packets: number of RTP packets known to be missing; absent for 0.
        damaged: number of pictures known to be incomplete; absent for 0.
        codecs: RFC 6381, such as `avc1.640028`.
        width: pixels.
        height: pixels.
        camera_start_us: the first access unit by the camera's own clock, which may be wrong by years; absent if the
            camera sends no clock.
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
    """`value` is the epoch's init (`ftyp` + `moov`), then one `moof` + `mdat`: playable alone."""

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
        epoch: the epoch, an unbroken run of the stream, that it was taken from.
        seq: number of the fragment that starts with this keyframe.
        at_us: the picture's instant on our clock, µs UTC.
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
