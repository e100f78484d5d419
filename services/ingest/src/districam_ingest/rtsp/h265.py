"""H.265 out of RTP payloads (RFC 7798 section 4.4): single NAL units, AP, FU, without DONL. No byte of a unit is altered."""

from districam_ingest.rtsp.fragments import Fragments
from districam_ingest.rtsp.h264 import aggregated
from districam_ingest.rtsp.message import RtspError

AP, FU = 48, 49


class H265Depacketizer:
    """Takes payloads in order."""

    def __init__(self) -> None:
        self._fragments = Fragments()

    def push(self, payload: bytes, out: list[bytes]) -> None:
        """Appends the NAL units that are complete now to `out`.

        Raises:
            RtspError: the payload is malformed; what was whole in it is in `out`.
        """
        if len(payload) < 2:
            raise RtspError("a payload is cut off")
        kind = payload[0] >> 1 & 63
        if kind == FU:
            self._fragment(payload, out)
            return
        self._fragments.end(out)
        if kind == AP:
            aggregated(payload, 2, out)
        elif kind < AP:
            out.append(payload)
        else:
            raise RtspError(f"a payload of type {kind}")

    def flush(self, out: list[bytes]) -> None:
        """Ends a fragmented unit: nothing more of it comes."""
        self._fragments.end(out)

    def _fragment(self, payload: bytes, out: list[bytes]) -> None:
        if len(payload) < 3:
            raise RtspError("a fragment is cut off")
        flags = payload[2]
        if flags & 0x80:
            head = bytes((payload[0] & 0x81 | (flags & 63) << 1, payload[1]))
            self._fragments.begin(head, payload[3:], out)
        else:
            self._fragments.go_on(payload[3:])
        if flags & 0x40:
            self._fragments.end(out)
