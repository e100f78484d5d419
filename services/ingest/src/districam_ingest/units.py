"""Media units between reader and muxer: as read from the camera, and with their place in time."""

from dataclasses import dataclass, field

from districam_common.contract.media import EndKind


@dataclass(slots=True, init=False)  # created per picture: a frozen dataclass is slower, and this `__init__` compiles
class Picture:
    """One access unit as a reader delivers it, in decode order.

    Attributes:
        nals: the NAL units, unmodified, without start codes.
        pts: presentation time in 90 kHz ticks, unwrapped, with an arbitrary origin.
        arrival_us: monotonic time at which its first bytes arrived.
        camera_us: its time on the camera's wall clock (RTCP sender reports), if known.
        lost_packets: packets known to be missing before or within it.
        is_damaged: NAL units are missing; those that remain are complete and include a slice.
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


@dataclass(slots=True, init=False)  # as `Picture`
class AccessUnit:
    """A picture with its place in time, as it will be stored.

    Attributes:
        parts: length-prefixed NAL units as consecutive pieces, joined once when the fragment is muxed.
        start_us: decode time on our clock, µs UTC.
        dts, pts: 90 kHz ticks on the epoch's media clock.
        size: bytes of all parts.
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
        """The joined parts."""
        return b"".join(self.parts)


@dataclass(frozen=True, slots=True)
class AudioUnit:
    """One audio access unit as a reader delivers it.

    Attributes:
        pts: in ticks of its own clock rate, unwrapped, with an arbitrary origin.
        captured_us: latest possible capture time of its first sample, monotonic: the packet's arrival minus the
            duration from that sample to the packet's end.
        camera_us: its time on the camera's wall clock (RTCP sender reports), if known.
    """

    data: bytes
    pts: int
    captured_us: int
    camera_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmuxedFragment:
    """One fragment's access units; the intervals of an epoch's fragments are contiguous.

    Attributes:
        last_duration_ticks: duration of the last access unit, in ticks of the media clock.
        lost_after: packets lost between it and the next fragment; their pictures belong to this interval.
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
