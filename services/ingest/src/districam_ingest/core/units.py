"""A camera's pictures on their way: as read, and as placed in time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Picture:
    """One access unit as a reader delivers it, in decode order.

    Attributes:
        nals: its NAL units, unaltered.
        pts: presentation time in 90 kHz ticks, unwrapped, from any origin.
        arrival_us: monotonic time at which its first bytes arrived.
        camera_us: the camera's own wall clock for it (RTCP sender reports), if known.
        lost_packets: packets known to be missing in front of or within it.
    """

    nals: tuple[bytes, ...]
    pts: int
    arrival_us: int
    camera_us: int | None = None
    lost_packets: int = 0


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """A picture placed in time, as it will be stored.

    Attributes:
        data: length-prefixed NAL units.
        start_us: decode time on our clock, UTC.
        dts, pts: 90 kHz ticks on the epoch's media clock.
    """

    data: bytes
    start_us: int
    dts: int
    pts: int
    is_keyframe: bool
    camera_us: int | None = None
    lost_packets: int = 0
