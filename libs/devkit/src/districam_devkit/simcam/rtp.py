"""RTP payloads and headers, RTCP sender reports. Pure.

Sources: RFC 3550 (RTP, RTCP), RFC 6184 (H.264), RFC 7798 (H.265), RFC 2326 section 10.12 (interleaving).
"""

import itertools
import struct
from collections.abc import Collection, Sequence

from districam_devkit.bitstream import Codec

CLOCK_HZ = 90_000
PAYLOAD_TYPE = 96
MTU = 1400  # largest RTP payload that cameras usually put into an Ethernet frame
_MARKER = 0x80
_NTP_EPOCH_S = 2_208_988_800  # seconds from 1900 to 1970
_HEADER = struct.Struct(">BBHBBHII")


def payloads(codec: Codec, nals: Sequence[bytes], mtu: int = MTU) -> list[bytes]:
    """Returns RTP payloads of NAL units in order: single NAL unit packets, and fragmentation units above `mtu`."""
    out: list[bytes] = []
    for nal in nals:
        out += [nal] if len(nal) <= mtu else _fragmented(codec, nal, mtu)
    return out


def _fragmented(codec: Codec, nal: bytes, mtu: int) -> list[bytes]:
    """Splits into FU-A (RFC 6184, 5.8; type 28) or FU (RFC 7798, 4.4.3; type 49)."""
    if codec == "h264":
        header, body, kind = bytes([nal[0] & 0xE0 | 28]), nal[1:], nal[0] & 0x1F
    else:
        header, body, kind = bytes([nal[0] & 0x81 | 49 << 1, nal[1]]), nal[2:], nal[0] >> 1 & 0x3F
    step = mtu - len(header) - 1
    pieces: list[bytes] = []
    for start in range(0, len(body), step):
        first, last = start == 0, start + step >= len(body)
        pieces.append(header + bytes([first << 7 | last << 6 | kind]) + body[start : start + step])  # S, E, type
    return pieces


def interleaved(
    units: Sequence[bytes], *, channel: int, seq: int, timestamp: int, ssrc: int, payload_type: int = PAYLOAD_TYPE
) -> list[bytes]:
    """Returns interleaved RTP packets of one access unit; the last one has the marker bit."""
    last = len(units) - 1
    return [
        _HEADER.pack(
            0x24,  # "$" (RFC 2326, 10.12)
            channel,
            12 + len(payload),
            0x80,  # V = 2 (RFC 3550, 5.1)
            payload_type | (_MARKER if index == last else 0),
            seq + index & 0xFFFF,
            timestamp,
            ssrc,
        )
        + payload
        for index, payload in enumerate(units)
    ]


def payload_type(quirks: Collection[str]) -> int:
    """The payload type of the video."""
    return 35 if "payload-type-35" in quirks else PAYLOAD_TYPE


def chunks(packets: Sequence[bytes], count: int) -> list[bytes]:
    """Groups the packets into at most `count` writes of about equal numbers of packets."""
    count = max(1, min(count, len(packets)))
    edges = [index * len(packets) // count for index in range(count + 1)]
    return [b"".join(packets[start:end]) for start, end in itertools.pairwise(edges)]


def sender_report(*, channel: int, ssrc: int, now_us: int, timestamp: int, packets: int, octets: int) -> bytes:
    """Returns an interleaved compound RTCP packet: sender report and CNAME (RFC 3550, 6.4.1 and 6.5.1)."""
    seconds, micros = divmod(now_us, 1_000_000)
    report = struct.pack(
        ">BBHIIIIII",
        0x80,  # V = 2, RC = 0
        200,  # PT = SR
        6,  # length in 32-bit words minus one
        ssrc,
        seconds + _NTP_EPOCH_S,  # NTP timestamp
        (micros << 32) // 1_000_000,
        timestamp,
        packets & 0xFFFFFFFF,  # sender's packet count
        octets & 0xFFFFFFFF,  # sender's octet count
    )
    # SC = 1, PT = SDES, length, SSRC, CNAME (1) of 6 bytes, padded to 32 bits
    names = struct.pack(">BBHIBB", 0x81, 202, 4, ssrc, 1, 6) + b"simcam" + bytes(4)
    compound = report + names
    return struct.pack(">BBH", 0x24, channel, len(compound)) + compound
