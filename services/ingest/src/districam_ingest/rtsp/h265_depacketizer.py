"""Depacketizes H.265 (RFC 7798 section 4.4) without DONL: single NAL units, AP, FU. None is ever altered."""

from typing import Final

from districam_ingest.rtsp.fu_assembler import NalDepacketizer, append_nal
from districam_ingest.rtsp.h264_depacketizer import split_aggregation
from districam_ingest.rtsp.message import RtspError

AP: Final = 48
FU: Final = 49
RESERVED: Final = 51
"""Types from 51 on have no meaning (RFC 7798 section 4.4). Cameras may use them for other data than video."""


class H265Depacketizer(NalDepacketizer):
    """Takes payloads in order."""

    def __init__(self) -> None:
        super().__init__("hevc")

    def feed(self, payload: bytes, out: list[bytes]) -> bool:
        """Appends the NAL units that the payload completes to `out`; False if an incomplete one was dropped.

        Raises:
            RtspError: the payload is malformed; the NAL units before the malformed one are in `out`.
        """
        if not payload:  # as with H.264
            return True
        if len(payload) < 2:
            raise RtspError("an H.265 RTP payload is truncated")
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
            raise RtspError(f"unsupported RTP payload structure: type {kind}")  # PACI
        return is_whole

    def _feed_fragment(self, payload: bytes, out: list[bytes]) -> bool:
        if len(payload) < 3:
            raise RtspError("a fragmentation unit is truncated")
        flags = payload[2]  # FU header, after the payload header (section 4.4.3)
        if flags & 0x80:  # S, the start bit; the NAL unit header is the payload header with FuType
            self._middle_header = payload[:2] + bytes((flags & 63,))
            head = bytes((payload[0] & 0x81 | (flags & 63) << 1, payload[1]))
            is_whole = self._fu_assembler.feed_start(head, payload[3:], out)
        else:
            is_whole = self._fu_assembler.feed_middle(payload[3:])
        if flags & 0x40:  # E, the end bit
            self._fu_assembler.complete_unit(out)
        return is_whole
