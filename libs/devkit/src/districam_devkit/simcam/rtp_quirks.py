"""RTP and RTCP that deviate from the RFCs or use rare features. Pure.

docs/cameras.md lists the source of each quirk. Regular behavior: RFC 3550 (RTP, RTCP), RFC 6184 (H.264),
RFC 7798 (H.265).
"""

from collections.abc import Collection, Sequence
from typing import Final

from districam_devkit.bitstream import Codec, is_parameter_set, is_slice, join_annexb, nal_type
from districam_devkit.simcam import rtp

STRAY_BYTES: Final = bytes(range(0x80, 0xC0)) + b"\0\0\0"
STRAY_CHANNEL: Final = 14
_FRAME: Final = 4
_HEAD: Final = 16
"""Length of the interleaved header (4) and the RTP header (12)."""
_MARKER: Final = 0x80
_DELIMITER: Final[dict[Codec, bytes]] = {"h264": b"\x09\xf0", "hevc": b"\x46\x01\x50"}
_PRIVATE: Final[dict[Codec, bytes]] = {"h264": b"\x1fprivate", "hevc": b"\x78\x01private"}
_SEI: Final[dict[Codec, bytes]] = {"h264": b"\x06\xf0\x01\x00\x80", "hevc": b"\x4e\x01\xf0\x01\x00\x80"}
"""An SEI message of a reserved payloadType (240) with one byte."""
_AGGREGATION: Final[dict[Codec, bytes]] = {"h264": b"\x78", "hevc": b"\x60\x01"}
_FU: Final[dict[Codec, tuple[int, int]]] = {"h264": (28, 1), "hevc": (49, 2)}
"""NAL unit type of a fragmentation unit, and the position of its FU header in the payload."""


def payloads(codec: Codec, nals: Sequence[bytes], quirks: Collection[str], mtu: int = rtp.MTU) -> list[bytes]:
    """Returns the RTP payloads of an access unit's NAL units, in order."""
    units = list(nals)
    if "delimiters" in quirks:
        units.insert(0, _DELIMITER[codec])
    if "annexb-payload" in quirks and is_parameter_set(codec, units[0]):
        units = [join_annexb(units)[4:]]
    if "trailing-sei" in quirks:
        units.append(_SEI[codec])
    if "aggregated" in quirks:
        units = _aggregated(codec, units)
    made: list[bytes] = []
    for unit in units:
        pieces = _split(codec, unit, quirks, mtu)
        made += [_refragmented(codec, one, quirks) for one in pieces]
        if "empty-fragments" in quirks and len(pieces) > 1:
            at = _FU[codec][1]
            made.insert(len(made) - 1, pieces[0][:at] + bytes([pieces[0][at] & 0x3F]))
    if "private-units" in quirks:
        made.insert(0, _PRIVATE[codec])
    if "empty-packets" in quirks:
        made.append(b"")
    return made


def _aggregated(codec: Codec, units: list[bytes]) -> list[bytes]:
    """Puts everything before the first slice into one aggregation packet (RFC 6184, 5.7.1; RFC 7798, 4.4.2)."""
    first_slice_index = next((index for index, unit in enumerate(units) if is_slice(codec, unit)), 0)
    if first_slice_index < 2:
        return units
    together = b"".join(len(unit).to_bytes(2, "big") + unit for unit in units[:first_slice_index])
    return [_AGGREGATION[codec] + together, *units[first_slice_index:]]


def _split(codec: Codec, unit: bytes, quirks: Collection[str], mtu: int) -> list[bytes]:
    if "single-fragments" in quirks and len(unit) <= mtu and is_slice(codec, unit):
        return [_one_fragment(codec, unit)]
    return rtp.payloads(codec, [unit], mtu)


def _one_fragment(codec: Codec, unit: bytes) -> bytes:
    """Returns a fragmentation unit with both start bit and end bit set."""
    if codec == "h264":
        return bytes([unit[0] & 0xE0 | 28, 0xC0 | unit[0] & 0x1F]) + unit[1:]
    return bytes([unit[0] & 0x81 | 49 << 1, unit[1], 0xC0 | unit[0] >> 1 & 0x3F]) + unit[2:]


def _refragmented(codec: Codec, payload: bytes, quirks: Collection[str]) -> bytes:
    """Changes the FU header of a fragmentation unit; returns other payloads unchanged."""
    kind, at = _FU[codec]
    if nal_type(codec, payload) != kind:
        return payload
    header = payload[at]
    if "no-end-bits" in quirks:
        header &= ~0x40  # E
    if "reserved-bit" in quirks and codec == "h264":
        header |= 0x20  # R (RFC 6184, 5.8)
    if "wrong-fragment-types" in quirks and not header & 0x80:
        header &= 0xC0
    return payload[:at] + bytes([header]) + payload[at + 1 :]


def packets(regular: Sequence[bytes], quirks: Collection[str], *, codec: Codec, previous_timestamp: int) -> list[bytes]:
    """Changes marker, timestamp or header of an access unit's interleaved packets, and inserts others between them."""
    made = [_altered(one, quirks, codec, previous_timestamp) for one in regular]
    if "unmarked" in quirks:
        made = [_marked(one, is_marked=False) for one in made]
    if "all-marked" in quirks:
        made = [_marked(one, is_marked=True) for one in made]
    if "trailing-sei" in quirks:  # the marker is set before the SEI
        made[-2:-1] = [_marked(made[-2], is_marked=True)]
    if "payload-type-50" in quirks:  # has the sequence number of the following packet
        made.insert(0, regular[0][:5] + bytes([_MARKER | 50]) + regular[0][6:_HEAD] + bytes(8))
        made[0] = _framed(made[0][_FRAME:], made[0][1])
    if "stray-channel" in quirks:
        made.append(_framed(regular[0][_FRAME:_HEAD] + b"no track of ours", STRAY_CHANNEL))
    if "stray-bytes" in quirks:
        made[-1] += STRAY_BYTES
    return made


def _altered(packet: bytes, quirks: Collection[str], codec: Codec, previous_timestamp: int) -> bytes:
    unit = _unit(codec, packet[_HEAD:])
    if "marked-units" in quirks and not is_slice(codec, unit):
        packet = _marked(packet, is_marked=True)
    # early-sets: they have the previous picture's timestamp, after its marker
    if "early-sets" in quirks and is_parameter_set(codec, unit):
        packet = packet[:8] + previous_timestamp.to_bytes(4, "big") + packet[12:]
        packet = _marked(packet, is_marked=True)
    head, rest = packet[_FRAME:_HEAD], packet[_HEAD:]
    if "extension" in quirks:  # RFC 3550, 5.3.1: profile, length of one word
        head, rest = bytes([head[0] | 0x10]) + head[1:], b"\xab\xac\0\1wall" + rest
    if "padding" in quirks:  # RFC 3550, 5.1: the last byte is the padding's length, itself included
        head, rest = bytes([head[0] | 0x20]) + head[1:], rest + b"\0\0\3"
    return _framed(head + rest, packet[1])


def _unit(codec: Codec, payload: bytes) -> bytes:
    """Returns the header of the NAL unit in a payload, which may be a fragment of it."""
    kind, at = _FU[codec]
    if not payload or nal_type(codec, payload) != kind:
        return payload or b"\xff"
    unit = payload[at] & 0x3F
    return bytes([unit & 0x1F if codec == "h264" else unit << 1])


def _marked(packet: bytes, *, is_marked: bool) -> bytes:
    kind = packet[5] | _MARKER if is_marked else packet[5] & ~_MARKER
    return packet[:5] + bytes([kind]) + packet[6:]


def _framed(packet: bytes, channel: int) -> bytes:
    return bytes((0x24, channel)) + len(packet).to_bytes(2, "big") + packet


def report(regular: bytes, quirks: Collection[str]) -> bytes:
    """Returns a framed sender report with its SDES packet, changed by the quirks."""
    channel, compound = regular[1], regular[_FRAME:]
    sender, names = compound[:28], compound[28:]
    if "unset-clock" in quirks:  # RFC 3550, 6.4.1: zero if there is no wall clock
        sender = sender[:8] + bytes(8) + sender[16:]
    if "foreign-report" in quirks:
        sender = sender[:4] + bytes(byte ^ 0xFF for byte in sender[4:8]) + sender[8:]
    if "no-sdes-end" in quirks:  # the text reaches the packet's end, without the null octet of RFC 3550, 6.5
        names = bytes([0x81, 202, 0, 3]) + names[4:8] + b"\x01\x06simcam"
    if "short-report" in quirks:
        return _framed(sender[:2], channel) + _framed(sender + names, channel)
    return _framed(sender + names, channel)
