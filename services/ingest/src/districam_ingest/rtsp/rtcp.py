"""RTCP (RFC 3550 section 6): parses sender reports and BYE, encodes receiver reports."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from districam_ingest.rtsp.message import RtspError

_SENDER_REPORT: Final = 200  # packet types SR, RR, SDES, BYE (RFC 3550 section 12.1)
_RECEIVER_REPORT: Final = 201
_DESCRIPTION: Final = 202
_BYE: Final = 203
_NTP_EPOCH_S: Final = 2_208_988_800  # 1900 to 1970
_SENDER: Final = struct.Struct(">IIII")  # SSRC, NTP timestamp (s, fraction), RTP timestamp (6.4.1)


@dataclass(frozen=True, slots=True)
class SenderReport:
    """Maps the camera's wall clock `camera_us` (µs UTC) to its `rtp_timestamp`.

    `ntp_middle` holds the middle 32 bits of the NTP timestamp, which receiver reports return as LSR.
    """

    ssrc: int
    camera_us: int
    rtp_timestamp: int
    ntp_middle: int


@dataclass(frozen=True, slots=True)
class CompoundPacket:
    """The parts of a compound packet that are used.

    Attributes:
        sender_report: its last valid sender report.
        bye_ssrcs: sources of its BYE (section 6.6), empty if that lists none; None without a BYE.
    """

    sender_report: SenderReport | None = None
    bye_ssrcs: frozenset[int] | None = None


def parse(compound: bytes) -> CompoundPacket:
    """Parses a compound packet. A sender report from before 1970 is ignored: the camera's clock is not set.

    Raises:
        RtspError: not RTCP of version 2, or truncated.
    """
    sender_report: SenderReport | None = None
    bye_ssrcs: frozenset[int] | None = None
    for kind, count, body in _split_compound(compound):
        if kind == _SENDER_REPORT and len(body) >= 20:
            sender_report = _parse_sender_report(body)
        elif kind == _BYE:
            named = range(0, min(4 * count, len(body)), 4)
            bye_ssrcs = frozenset(int.from_bytes(body[at : at + 4], "big") for at in named)
    return CompoundPacket(sender_report, bye_ssrcs)


def _split_compound(compound: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields PT, RC or SC (the first byte's low five bits), and body of each packet (section 6.4.1)."""
    at = 0
    while at < len(compound):
        if len(compound) - at < 4 or compound[at] >> 6 != 2:
            raise RtspError("not RTCP of version 2")
        end = at + 4 + 4 * int.from_bytes(compound[at + 2 : at + 4], "big")
        if end > len(compound):
            raise RtspError("an RTCP packet is truncated")
        yield compound[at + 1], compound[at] & 31, compound[at + 4 : end]
        at = end


def _parse_sender_report(body: bytes) -> SenderReport | None:
    ssrc, seconds, fraction, timestamp = _SENDER.unpack_from(body)
    if seconds < _NTP_EPOCH_S:
        return None
    camera_us = (seconds - _NTP_EPOCH_S) * 1_000_000 + (fraction * 1_000_000 >> 32)
    return SenderReport(ssrc, camera_us, timestamp, (seconds & 0xFFFF) << 16 | fraction >> 16)


@dataclass(frozen=True, slots=True)
class ReceptionReport:
    """A report block of a receiver report (RFC 3550 section 6.4.1).

    Attributes:
        highest_seq: extended highest sequence number received.
        packets_lost: cumulative number of packets lost.
        last_sr: LSR, the `ntp_middle` of the source's last sender report; 0 if there was none.
        since_last_sr_us: µs since that report arrived (sent as DLSR).
    """

    ssrc: int
    highest_seq: int
    packets_lost: int
    last_sr: int
    since_last_sr_us: int


def encode_receiver_report(our_ssrc: int, reception: ReceptionReport) -> bytes:
    """A compound packet of RR and SDES. Jitter is sent as 0: arrival times are only known per tick."""
    block = struct.pack(
        ">IIIIII",
        reception.ssrc,
        min(reception.packets_lost, 0x7F_FFFF),  # fraction lost (as 0), and 24 bits, signed
        reception.highest_seq & 0xFFFF_FFFF,
        0,  # interarrival jitter
        reception.last_sr,
        min(reception.since_last_sr_us * 65_536 // 1_000_000, 0xFFFF_FFFF) if reception.last_sr else 0,
    )
    report = struct.pack(">BBHI", 0x81, _RECEIVER_REPORT, 7, our_ssrc) + block  # version 2, one block
    name = b"districam"
    item = (bytes([1, len(name)]) + name).ljust(12, b"\0")  # CNAME (6.5.1); zeros end the list on a word
    return report + struct.pack(">BBHI", 0x81, _DESCRIPTION, 1 + len(item) // 4, our_ssrc) + item
