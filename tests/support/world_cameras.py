"""Simulated cameras: two numbered pictures per second, and the simplified boxes that carry them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from districam_common.contract.events import Camera
from districam_common.ledger.cover import StoredFragment
from districam_ingest.output.mux import Muxer
from districam_ingest.recording.shedder import MAX_FRAGMENT_PAYLOAD_BYTES
from districam_ingest.units import Picture, UnmuxedFragment
from support.fragments import box

S = 1_000_000
TICK_US = S // 2
WORLD_START_US = 1_795_521_600 * S
"""Start of every world: noon of a day in 2026."""
GOP_TICKS = 8
PTS_A_TICK = 45_000
SETS = (bytes.fromhex("6742c01eda0280bfe584000003000400000300c83c58ba80"), bytes.fromhex("68ce0fc8"))
INIT = box(b"ftyp", b"iso5") + box(b"moov", b"made up")
_UNIT = struct.Struct(">qqi?")
_OVERSIZE_PADDING = bytes(MAX_FRAGMENT_PAYLOAD_BYTES)


def tick_us(tick: int) -> int:
    """The true time of a tick, µs UTC."""
    return WORLD_START_US + tick * TICK_US


@dataclass
class SimulatedCamera:
    """A camera. `clients`: the connected workers, which add and remove themselves."""

    record: Camera
    phase: int
    is_silent: bool = False
    is_reachable: bool = True
    is_losing: bool = False
    is_oversize: bool = False
    clients: list[object] = field(default_factory=list[object])
    sent: set[int] = field(default_factory=set[int])
    """Ticks of all pictures that it sent, with or without clients."""

    @property
    def camera_id(self) -> str:
        return self.record.camera_id

    @property
    def is_sending(self) -> bool:
        return self.is_reachable and not self.is_silent

    def accepts_client(self) -> bool:
        return self.is_reachable and not (self.record.single_client and self.clients)

    def is_keyframe(self, tick: int) -> bool:
        return tick % GOP_TICKS == self.phase

    def picture(self, tick: int, arrival_us: int, lost_before: int) -> Picture:
        """The picture of that tick as received by a client that lost `lost_before` packets before it."""
        number = f"{tick:08d}".encode()
        much = _OVERSIZE_PADDING if self.is_oversize else b""
        return Picture(
            nals=(*SETS, b"\x65" + much + number) if self.is_keyframe(tick) else (b"\x41" + number,),
            pts=tick * PTS_A_TICK,
            arrival_us=arrival_us,
            lost_packets=lost_before,
        )


# ---- replaces the MP4 muxer


def fragment_value(init: bytes, fragment: UnmuxedFragment, _audio: object = ()) -> bytes:
    """A fragment whose `mdat` lists its pictures: start, fragment's end, number, whether it is a keyframe."""
    units = [_UNIT.pack(u.start_us, fragment.end_us, int(u.data[-8:]), u.is_keyframe) for u in fragment.units]
    return init + box(b"moof", fragment.seq.to_bytes(4, "big")) + box(b"mdat", b"".join(units))


def _init(*_: object) -> bytes:
    return INIT


LISTING_MUXER = Muxer(_init, _init, fragment_value)
"""Boxes that list their pictures, instead of MP4."""


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A stored picture."""

    number: int
    start_us: int


@dataclass(frozen=True, slots=True)
class FragmentContent:
    """A fragment decoded from its bytes."""

    fragment: StoredFragment
    pictures: tuple[StoredPicture, ...]


def contents(media: bytes) -> Iterator[FragmentContent]:
    """The fragments in an object's body after its init."""
    while media:
        moof, media = _box(media)
        mdat, media = _box(media)
        units = [_UNIT.unpack_from(mdat, n) for n in range(0, len(mdat), _UNIT.size)]
        start_us, end_us, _, key = units[0]
        fragment = StoredFragment(int.from_bytes(moof, "big"), start_us, end_us, key)
        yield FragmentContent(fragment, tuple(StoredPicture(number, us) for us, _, number, _ in units))


def _box(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:4], "big")
    return data[8:size], data[size:]
