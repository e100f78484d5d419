"""H.264 out of RTP payloads (RFC 6184 section 5): single NAL units, STAP-A, FU-A. No byte of a unit is altered.

The packetization mode that a description names is of no interest: cameras that say 0 send FU-A all the same.
"""

from typing import Final

from districam_ingest.rtsp.fu_assembler import NalDepacketizer, append_nal
from districam_ingest.rtsp.message import RtspError

STAP_A: Final = 24
FU_A: Final = 28
RESERVED: Final = (30, 31)
"""Types that RFC 6184 gives no meaning (table 1). Some cameras send data of their own so, which is no part of the video."""


class H264Depacketizer(NalDepacketizer):
    """Takes payloads in order."""

    def __init__(self) -> None:
        super().__init__("h264")

    def feed(self, payload: bytes, out: list[bytes]) -> bool:
        """Appends the NAL units that are complete now to `out`; False if one was left out that lacks a piece.

        Raises:
            RtspError: the payload is malformed; what was whole in it is in `out`.
        """
        if not payload:  # of padding alone, or sent to keep a way through a firewall open: nothing is missing
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
            raise RtspError(f"a payload of type {kind}")
        return is_whole

    def _feed_fragment(self, payload: bytes, out: list[bytes]) -> bool:
        if len(payload) < 2:
            raise RtspError("a fragment is cut off")
        flags = payload[1]
        if flags & 0x80:
            self._middle_header = payload[:1] + bytes((flags & 31,))
            is_whole = self._fu_assembler.feed_start(bytes((payload[0] & 0xE0 | flags & 31,)), payload[2:], out)
        else:
            is_whole = self._fu_assembler.feed_middle(payload[2:])
        if flags & 0x40:
            self._fu_assembler.complete_unit(out)
        return is_whole


def split_aggregation(payload: bytes, at: int, out: list[bytes]) -> None:
    """Appends the units of an aggregation packet: each behind its length in two bytes.

    Raises:
        RtspError: one is cut off.
    """
    while at + 2 < len(payload):
        size = payload[at] << 8 | payload[at + 1]
        if at + 2 + size > len(payload):
            raise RtspError("an aggregated NAL unit is cut off")
        if size:
            out.append(payload[at + 2 : at + 2 + size])
        at += 2 + size
