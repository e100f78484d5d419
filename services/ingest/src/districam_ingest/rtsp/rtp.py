"""RTP (RFC 3550 section 5.1): header parsing, loss detection by sequence numbers, timestamp unwrapping."""

import struct
from typing import Final, NamedTuple

from districam_ingest.rtsp.message import RtspError

_HALF: Final = 0x8000
"""Half of the 16-bit sequence number space: a step of this or more goes back."""
_DUPLICATE_STEP: Final = 0xFFFF
_FIXED: Final = struct.Struct(">HII")  # sequence number, timestamp, SSRC
_VERSION_2: Final = 0x80  # V is 2; P, X and CC are 0


class RtpPacket(NamedTuple):
    """The fields of an RTP packet that are used."""

    payload_type: int
    has_marker: bool
    seq: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(packet: bytes) -> RtpPacket:
    """Parses an RTP packet. Raises RtspError if it is malformed or not of version 2."""
    if len(packet) < 12:
        raise RtspError("an RTP packet is truncated")
    start, end = (12, len(packet)) if packet[0] == _VERSION_2 else _payload_bounds(packet)
    seq, timestamp, ssrc = _FIXED.unpack_from(packet, 2)
    kind = packet[1]  # M, PT
    return RtpPacket(kind & 0x7F, kind > 0x7F, seq, timestamp, ssrc, packet[start:end])


def _payload_bounds(packet: bytes) -> tuple[int, int]:
    """Start and end of the payload of a packet with CSRCs, a header extension, or padding."""
    first = packet[0]
    if first >> 6 != 2:  # V
        raise RtspError("not RTP of version 2")
    start, end = 12 + 4 * (first & 15), len(packet)  # CC
    if first & 0x10:  # X (section 5.3.1)
        if start + 4 > end:
            raise RtspError("an RTP header extension is truncated")
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    if first & 0x20:  # P: the last byte counts the padding
        end -= packet[-1]
    if start > end:
        raise RtspError("an RTP packet is shorter than its header and padding")
    return start, end


class LossDetector:
    """Counts missing packets by sequence numbers, over an ordered transport.

    Within an SSRC, a jump ahead is a loss of any size: at 25 Mbit/s 3,000 packets are lost in 1.3 s, within
    one epoch. How many packets are missing where numbers go back is unknown; it counts as one. A repeated
    number is a duplicate packet.

    Attributes:
        highest_seq: the newest extended sequence number (RFC 3550 section 6.4.1).
        packets_lost: packets missing so far.
    """

    def __init__(self) -> None:
        self._ssrc: int | None = None
        self.highest_seq = 0
        self.packets_lost = 0

    def feed(self, seq: int, ssrc: int) -> int:
        """Takes a packet's sequence number; returns how many are missing before it. A new SSRC starts without loss."""
        step = (seq - self.highest_seq - 1) & 0xFFFF
        if ssrc != self._ssrc or step >= _HALF:
            missing = int(ssrc == self._ssrc and step != _DUPLICATE_STEP)
            self._ssrc = ssrc
            self.highest_seq = (self.highest_seq & ~0xFFFF) | seq
        else:
            missing = step
            self.highest_seq += step + 1
        self.packets_lost += missing
        return missing


class TimestampUnwrapper:
    """Extends 32-bit RTP timestamps to unbounded ones: each is the value nearest to the previous one."""

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrap(self, timestamp: int) -> int:
        """Unwraps a timestamp without changing the state, such as that of a sender report."""
        if self._last is None:
            self._last = timestamp
        return self._last + ((timestamp - self._last + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000

    def feed(self, timestamp: int) -> int:
        """Unwraps the stream's next timestamp."""
        self._last = self.unwrap(timestamp)
        return self._last
