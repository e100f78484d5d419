"""A NAL unit that comes in several packets."""

from typing import Final

from districam_ingest.codec.nal import Codec, is_slice, split_annexb
from districam_ingest.rtsp.message import RtspError

PICTURE_MOST: Final = 16 << 20
_OVERHEAD: Final = 64
"""Counted for every piece, so that empty ones cost something too."""


class Fragments:
    """The pieces so far, `PICTURE_MOST` bytes at most. A unit that lacks a piece is left out: half of one is none."""

    def __init__(self, codec: Codec) -> None:
        self._codec: Codec = codec
        self._parts: list[bytes] = []
        self._size = 0
        self._lacks = True  # what we joined in the middle of
        self._ends = False

    def begin(self, head: bytes, body: bytes, out: list[bytes]) -> bool:
        """Takes the first piece. False if what came of the unit before was left out."""
        is_whole = self.close(out)
        self._parts, self._size, self._lacks = [head, body], len(body), False
        return is_whole

    def go_on(self, body: bytes) -> bool:
        """Takes a further piece; False if it is left out, since one before it is missing.

        Raises:
            RtspError: it has no beginning, or the unit is too large.
        """
        if not self._parts:
            if self._lacks:
                return False
            raise RtspError("a fragment without a beginning")
        self._parts.append(body)
        self._size += len(body) + _OVERHEAD
        if self._size > PICTURE_MOST:
            self._parts = []
            raise RtspError("a NAL unit is too large")
        return True

    def append(self, body: bytes) -> bool:
        """Takes a further piece, if it fits; False if not, and nothing has changed."""
        size = self._size + len(body) + _OVERHEAD
        if not self._parts or size > PICTURE_MOST:
            return False
        self._parts.append(body)
        self._size = size
        return True

    def end(self, out: list[bytes]) -> None:
        """Puts the unit into `out`: its last piece said so."""
        self._lacks, self._ends = False, True
        if self._parts:
            append_unit(self._codec, b"".join(self._parts), out)
            self._parts = []

    def close(self, out: list[bytes]) -> bool:
        """Nothing more of the unit comes. Some cameras set no end bits: theirs are whole.

        False if what came of it was left out.
        """
        if not self._parts:
            return True
        if not self._ends:
            append_unit(self._codec, b"".join(self._parts), out)
        self._parts = []
        return not self._ends

    def lose(self) -> bool:
        """Packets are missing here. False if what came of a unit was left out."""
        had, self._parts, self._lacks = bool(self._parts), [], True
        return not had


_START: Final = b"\0\0\1"


def append_unit(codec: Codec, unit: bytes, out: list[bytes]) -> None:
    """Appends a NAL unit; several, where a camera sends them as one with start codes between them.

    No NAL unit holds a start code (H.264 and H.265, section 7.4.1). V380 cameras send parameter sets and the keyframe behind
    them so (docs/cameras.md: annexb-payload). What begins with a slice is not looked through: it is nearly all of a stream.
    """
    if is_slice(codec, unit) or _START not in unit:
        out.append(unit)
    else:
        out += split_annexb(_START + unit)


class Depacketizer:
    """What payload formats of NAL units share: a unit under way, and its plain middle pieces."""

    def __init__(self, codec: Codec) -> None:
        self._codec: Codec = codec
        self._fragments = Fragments(codec)
        self._middle = b"\xff\xff"  # how the middle pieces of the unit under way begin

    def go_on(self, data: bytes, at: int, end: int) -> bool:
        """Takes the payload data[at:end] if it is a middle piece of the unit under way; False if it is for `push`."""
        body = at + len(self._middle)
        is_middle = body <= end and data[at:body] == self._middle
        return is_middle and self._fragments.append(data[body:end])

    def flush(self, out: list[bytes]) -> bool:
        """Nothing more of a fragmented unit comes; False if what came of it was left out."""
        return self._fragments.close(out)

    def lose(self) -> bool:
        """Packets are missing here; False if what came of a unit was left out."""
        return self._fragments.lose()
