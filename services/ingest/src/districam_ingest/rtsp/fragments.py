"""A NAL unit that comes in several packets."""

from districam_ingest.rtsp.message import RtspError

PICTURE_MOST = 16 << 20
_OVERHEAD = 64
"""Counted for every piece, so that empty ones cost something too."""


class Fragments:
    """The pieces so far, `PICTURE_MOST` bytes at most."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def begin(self, head: bytes, body: bytes, out: list[bytes]) -> None:
        """Takes the first piece; a unit that was never ended goes to `out`: some cameras set no end bits."""
        self.end(out)
        self._parts, self._size = [head, body], len(body)

    def go_on(self, body: bytes) -> None:
        """Takes a further piece.

        Raises:
            RtspError: it has no beginning, or the unit is too large.
        """
        if not self._parts:
            raise RtspError("a fragment without a beginning")
        self._parts.append(body)
        self._size += len(body) + _OVERHEAD
        if self._size > PICTURE_MOST:
            self._parts = []
            raise RtspError("a NAL unit is too large")

    def end(self, out: list[bytes]) -> None:
        """Puts the unit into `out`, whole or as far as it came."""
        if self._parts:
            out.append(b"".join(self._parts))
            self._parts = []
