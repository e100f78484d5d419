"""H.264 out of RTP payloads (RFC 6184 section 5): single NAL units, STAP-A, FU-A. No byte of a unit is altered."""

from typing import Final

from districam_ingest.rtsp.fragments import Depacketizer
from districam_ingest.rtsp.message import RtspError

STAP_A: Final = 24
FU_A: Final = 28


class H264Depacketizer(Depacketizer):
    """Takes payloads in order."""

    def push(self, payload: bytes, out: list[bytes]) -> bool:
        """Appends the NAL units that are complete now to `out`; False if one was left out that lacks a piece.

        Raises:
            RtspError: the payload is malformed; what was whole in it is in `out`.
        """
        if not payload:
            raise RtspError("an empty payload")
        kind = payload[0] & 31
        if kind == FU_A:
            return self._fragment(payload, out)
        is_whole = self._fragments.close(out)
        if kind == STAP_A:
            aggregated(payload, 1, out)
        elif kind < STAP_A:
            out.append(payload)
        else:
            raise RtspError(f"a payload of type {kind}")
        return is_whole

    def _fragment(self, payload: bytes, out: list[bytes]) -> bool:
        if len(payload) < 2:
            raise RtspError("a fragment is cut off")
        flags = payload[1]
        if flags & 0x80:
            self._middle = payload[:1] + bytes((flags & 31,))
            is_whole = self._fragments.begin(bytes((payload[0] & 0xE0 | flags & 31,)), payload[2:], out)
        else:
            is_whole = self._fragments.go_on(payload[2:])
        if flags & 0x40:
            self._fragments.end(out)
        return is_whole


def aggregated(payload: bytes, at: int, out: list[bytes]) -> None:
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
