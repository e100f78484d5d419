"""Groups libavformat's RTP packets into pictures by the native reader's rules (`AccessUnitAssembler`)."""

from contextlib import suppress

from districam_ingest.codec.nal import Codec, split_annexb
from districam_ingest.rtsp.access_unit_assembler import AccessUnitAssembler
from districam_ingest.rtsp.fu_assembler import MAX_PICTURE_BYTES
from districam_ingest.rtsp.message import RtspError
from districam_ingest.units import Picture

_START_CODES = (b"\0\0\1", b"\0\0\0\1")


class LibavAssembler:
    """Reassembles NAL units and passes them to `AccessUnitAssembler`.

    libavformat returns the content of one RTP packet: NAL units in Annex B form, or, without a start code,
    the continuation of the previous NAL unit (FU-A of RFC 6184 section 5.8, FU of RFC 7798 section 4.4.3).
    """

    def __init__(self, codec: Codec, *, has_fields: bool) -> None:
        self._assembler = AccessUnitAssembler(codec, has_fields=has_fields)
        self._pts: int | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._arrival_us = 0

    def feed(self, data: bytes, pts: int | None, arrival_us: int, camera_us: int | None) -> list[Picture]:
        """Takes a packet's data, which arrived at `arrival_us`; returns the pictures that end before it.

        Data without `pts` belong to the current picture; before the first picture they are dropped.

        Raises:
            RtspError: a picture exceeds a limit of `AccessUnitAssembler`.
        """
        if pts is None and self._pts is None:
            return []
        is_next = pts is not None and pts != self._pts
        if is_next or data.startswith(_START_CODES):
            self._complete_unit()
            self._arrival_us = arrival_us
        if pts is not None and is_next:
            self._assembler.begin_timestamp(pts, arrival_us, camera_us)
            self._pts = pts
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_PICTURE_BYTES:
            raise RtspError(f"a NAL unit exceeds {MAX_PICTURE_BYTES} bytes")
        return self._drain()

    def close(self) -> list[Picture]:
        """Returns the remaining pictures, with the last one."""
        with suppress(RtspError):  # the last picture exceeds a limit
            self._complete_unit()
            self._assembler.close()
        self._pts = None
        return self._drain()

    def _complete_unit(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        self._assembler.feed(split_annexb(b"".join(pieces)), self._arrival_us)

    def _drain(self) -> list[Picture]:
        done, self._assembler.completed = self._assembler.completed, []
        return done
