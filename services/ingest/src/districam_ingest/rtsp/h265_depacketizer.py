"""H.265 out of RTP payloads (RFC 7798 section 4.4): single NAL units, AP, FU, without DONL. No byte of a unit is altered."""

from typing import Final

from districam_ingest.rtsp.fu_assembler import NalDepacketizer, append_nal
from districam_ingest.rtsp.h264_depacketizer import split_aggregation
from districam_ingest.rtsp.message import RtspError

AP: Final = 48
FU: Final = 49
RESERVED: Final = 51
"""This type and those above have no meaning (H.265 table 7-1, RFC 7798 section 4.4)."""


class H265Depacketizer(NalDepacketizer):
    """Takes payloads in order."""

    def __init__(self) -> None:
        super().__init__("hevc")

    def feed(self, payload: bytes, out: list[bytes]) -> bool:
        """Appends the NAL units that are complete now to `out`; False if one was left out that lacks a piece.

        Raises:
            RtspError: the payload is malformed; what was whole in it is in `out`.
        """
        if not payload:  # as in H.264
            return True
        if len(payload) < 2:
            raise RtspError("a payload is cut off")
        kind = payload[0] >> 1 & 63
        if kind == FU:
            return self._feed_fragment(payload, out)
        if kind >= RESERVED:
            return True
        is_whole = self._fu_assembler.close_unit(out)
        if kind == AP:
            split_aggregation(payload, 2, out)
        elif kind < AP:
            append_nal("hevc", payload, out)
        else:
            raise RtspError(f"a payload of type {kind}")
        return is_whole

    def _feed_fragment(self, payload: bytes, out: list[bytes]) -> bool:
        if len(payload) < 3:
            raise RtspError("a fragment is cut off")
        flags = payload[2]
        if flags & 0x80:
            self._middle_header = payload[:2] + bytes((flags & 63,))
            head = bytes((payload[0] & 0x81 | (flags & 63) << 1, payload[1]))
            is_whole = self._fu_assembler.feed_start(head, payload[3:], out)
        else:
            is_whole = self._fu_assembler.feed_middle(payload[3:])
        if flags & 0x40:
            self._fu_assembler.complete_unit(out)
        return is_whole
