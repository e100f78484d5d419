"""A camera's pictures and sound on their way: as read, and as placed in time."""

from dataclasses import dataclass, field

from districam_common.contract.media import EndKind


@dataclass(slots=True, init=False)  # made for each picture: not frozen, and its `__init__` can be compiled
class Picture:
    """One access unit as a reader delivers it, in decode order.

    Attributes:
        nals: its NAL units, unaltered.
        pts: presentation time in 90 kHz ticks, unwrapped, from any origin.
        arrival_us: monotonic time at which its first bytes arrived.
        camera_us: the camera's own wall clock for it (RTCP sender reports), if known.
        lost_packets: packets known to be missing in front of or within it.
        is_damaged: it is known to be incomplete; what is left of it is whole NAL units, a slice among them.
    """

    nals: tuple[bytes, ...]
    pts: int
    arrival_us: int
    camera_us: int | None
    lost_packets: int
    is_damaged: bool

    def __init__(
        self,
        nals: tuple[bytes, ...],
        pts: int,
        arrival_us: int,
        camera_us: int | None = None,
        lost_packets: int = 0,
        *,
        is_damaged: bool = False,
    ) -> None:
        self.nals, self.pts, self.arrival_us = nals, pts, arrival_us
        self.camera_us, self.lost_packets, self.is_damaged = camera_us, lost_packets, is_damaged


@dataclass(slots=True, init=False)  # as above
class AccessUnit:
    """A picture placed in time, as it will be stored.

    Attributes:
        parts: length-prefixed NAL units, in pieces that only follow one another: they are put together once, with all
            of a fragment.
        start_us: decode time on our clock, UTC.
        dts, pts: 90 kHz ticks on the epoch's media clock.
        size: of all parts.
    """

    parts: tuple[bytes, ...]
    start_us: int
    dts: int
    pts: int
    is_keyframe: bool
    camera_us: int | None
    lost_packets: int
    is_damaged: bool
    size: int = field(init=False)

    def __init__(
        self,
        parts: tuple[bytes, ...],
        start_us: int,
        dts: int,
        pts: int,
        *,
        is_keyframe: bool,
        camera_us: int | None = None,
        lost_packets: int = 0,
        is_damaged: bool = False,
    ) -> None:
        self.parts, self.start_us, self.dts, self.pts = parts, start_us, dts, pts
        self.is_keyframe, self.camera_us = is_keyframe, camera_us
        self.lost_packets, self.is_damaged = lost_packets, is_damaged
        size = 0
        for part in parts:
            size += len(part)
        self.size = size

    @property
    def data(self) -> bytes:
        """The parts in one."""
        return b"".join(self.parts)


@dataclass(frozen=True, slots=True)
class AudioUnit:
    """One access unit of sound as a reader delivers it.

    Attributes:
        pts: in ticks of its own rate, unwrapped, from any origin.
        captured_us: monotonic time at which its first sample was taken at the latest: its packet's arrival less what lasts
            from there to the packet's end.
        camera_us: the camera's own wall clock for it (RTCP sender reports), if known.
    """

    data: bytes
    pts: int
    captured_us: int
    camera_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmuxedFragment:
    """One fragment's access units; intervals tile within an epoch. The last unit lasts `last_duration_ticks` of the media clock.

    `lost_after`: packets known to be missing between it and the next fragment: what they held lies in this interval.
    """

    seq: int
    units: tuple[AccessUnit, ...]
    duration_us: int
    last_duration_ticks: int
    starts_segment: bool
    ends: EndKind | None
    lost_after: int = 0

    @property
    def lost_packets(self) -> int:
        return sum(unit.lost_packets for unit in self.units) + self.lost_after

    @property
    def damaged(self) -> int:
        return sum(unit.is_damaged for unit in self.units)

    @property
    def start_us(self) -> int:
        return self.units[0].start_us

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us

    @property
    def end_dts(self) -> int:
        return self.units[-1].dts + self.last_duration_ticks

    @property
    def size(self) -> int:
        return sum(unit.size for unit in self.units)
