"""Depacketizes H.264 (RFC 6184 section 5): single NAL units, STAP-A, FU-A. NAL units are never altered.

packetization-mode of the SDP is ignored: cameras that announce mode 0 send FU-A nevertheless.
"""

from typing import Final

from districam_ingest.rtsp.fu_assembler import NalDepacketizer, append_nal
from districam_ingest.rtsp.message import RtspError

STAP_A: Final = 24
FU_A: Final = 28
RESERVED: Final = (30, 31)
"""Types without a meaning (RFC 6184 table 1). Some cameras use them for other data than video."""


class H264Depacketizer(NalDepacketizer):
    """Takes payloads in order."""

    def __init__(self) -> None:
        super().__init__("h264")

    def feed(self, payload: bytes, out: list[bytes]) -> bool:
        """Appends the NAL units that the payload completes to `out`; False if an incomplete one was dropped.

        Raises:
            RtspError: the payload is malformed; the NAL units before the malformed one are in `out`.
        """
        if not payload:  # padding only, or a packet that keeps a firewall open: nothing is missing
            return True
        kind = payload[0] & 31
        if kind == FU_A:
            return self._feed_fragment(payload, out)
        if kind in RESERVED:
            return True
        is_whole = self._fu_assembler.close_unit(out)
        if kind == STAP_A:
            split_aggregation(payload, 1, out)
        elif kind < STAP_A:
            append_nal("h264", payload, out)
        else:
            raise RtspError(f"unsupported RTP payload structure: type {kind}")  # STAP-B, MTAP16, MTAP24, FU-B
        return is_whole

    def _feed_fragment(self, payload: bytes, out: list[bytes]) -> bool:
        if len(payload) < 2:
            raise RtspError("a fragmentation unit is truncated")
        flags = payload[1]  # FU header, after the FU indicator (section 5.8)
        if flags & 0x80:  # S, the start bit; the NAL unit header is F and NRI of the indicator, and the type
            self._middle_header = payload[:1] + bytes((flags & 31,))
            is_whole = self._fu_assembler.feed_start(bytes((payload[0] & 0xE0 | flags & 31,)), payload[2:], out)
        else:
            is_whole = self._fu_assembler.feed_middle(payload[2:])
        if flags & 0x40:  # E, the end bit
            self._fu_assembler.complete_unit(out)
        return is_whole


def split_aggregation(payload: bytes, at: int, out: list[bytes]) -> None:
    """Appends the units of an aggregation packet, each of which follows its length in two bytes.

    Raises:
        RtspError: a unit is truncated.
    """
    while at + 2 < len(payload):
        size = payload[at] << 8 | payload[at + 1]
        if at + 2 + size > len(payload):
            raise RtspError("an aggregated NAL unit is truncated")
        if size:
            out.append(payload[at + 2 : at + 2 + size])
        at += 2 + size
