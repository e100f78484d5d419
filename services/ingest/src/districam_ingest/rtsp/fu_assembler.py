"""A NAL unit that comes in several packets."""

from typing import Final

from districam_ingest.codec.nal import Codec, is_slice, split_annexb
from districam_ingest.rtsp.message import RtspError

MAX_PICTURE_BYTES: Final = 16 << 20
_PART_OVERHEAD_BYTES: Final = 64
"""Counted for every piece, so that empty ones cost something too."""


class FuAssembler:
    """The pieces so far, `PICTURE_MOST` bytes at most. A unit that lacks a piece is left out: half of one is none."""

    def __init__(self, codec: Codec) -> None:
        self._codec: Codec = codec
        self._parts: list[bytes] = []
        self._size = 0
        self._is_incomplete = True  # what we joined in the middle of
        self._has_end_bits = False

    def feed_start(self, head: bytes, body: bytes, out: list[bytes]) -> bool:
        """Takes the first piece. False if what came of the unit before was left out."""
        is_whole = self.close_unit(out)
        self._parts, self._size, self._is_incomplete = [head, body], len(body), False
        return is_whole

    def feed_middle(self, body: bytes) -> bool:
        """Takes a further piece; False if it is left out, since one before it is missing.

        Raises:
            RtspError: it has no beginning, or the unit is too large.
        """
        if not self._parts:
            if self._is_incomplete:
                return False
            raise RtspError("a fragment without a beginning")
        self._parts.append(body)
        self._size += len(body) + _PART_OVERHEAD_BYTES
        if self._size > MAX_PICTURE_BYTES:
            self._parts = []
            raise RtspError("a NAL unit is too large")
        return True

    def try_feed_middle(self, body: bytes) -> bool:
        """Takes a further piece, if it fits; False if not, and nothing has changed."""
        size = self._size + len(body) + _PART_OVERHEAD_BYTES
        if not self._parts or size > MAX_PICTURE_BYTES:
            return False
        self._parts.append(body)
        self._size = size
        return True

    def complete_unit(self, out: list[bytes]) -> None:
        """Puts the unit into `out`: its last piece said so."""
        self._is_incomplete, self._has_end_bits = False, True
        if self._parts:
            append_nal(self._codec, b"".join(self._parts), out)
            self._parts = []

    def close_unit(self, out: list[bytes]) -> bool:
        """Nothing more of the unit comes. Some cameras set no end bits: theirs are whole.

        False if what came of it was left out.
        """
        if not self._parts:
            return True
        if not self._has_end_bits:
            append_nal(self._codec, b"".join(self._parts), out)
        self._parts = []
        return not self._has_end_bits

    def report_loss(self) -> bool:
        """Packets are missing here. False if what came of a unit was left out."""
        had, self._parts, self._is_incomplete = bool(self._parts), [], True
        return not had


_START: Final = b"\0\0\1"


def append_nal(codec: Codec, unit: bytes, out: list[bytes]) -> None:
    """Appends a NAL unit; several, where a camera sends them as one with start codes between them.

    No NAL unit holds a start code (H.264 and H.265, section 7.4.1). V380 cameras send parameter sets and the keyframe behind
    them so (docs/cameras.md: annexb-payload). What begins with a slice is not looked through: it is nearly all of a stream.
    """
    if is_slice(codec, unit) or _START not in unit:
        out.append(unit)
    else:
        out += split_annexb(_START + unit)


class NalDepacketizer:
    """What payload formats of NAL units share: a unit under way, and its plain middle pieces."""

    def __init__(self, codec: Codec) -> None:
        self._codec: Codec = codec
        self._fu_assembler = FuAssembler(codec)
        self._middle_header = b"\xff\xff"  # how the middle pieces of the unit under way begin

    def try_feed_middle(self, data: bytes, at: int, end: int) -> bool:
        """Takes the payload data[at:end] if it is a middle piece of the unit under way; False if it is for `push`."""
        body = at + len(self._middle_header)
        is_middle = body <= end and data[at:body] == self._middle_header
        return is_middle and self._fu_assembler.try_feed_middle(data[body:end])

    def close_unit(self, out: list[bytes]) -> bool:
        """Nothing more of a fragmented unit comes; False if what came of it was left out."""
        return self._fu_assembler.close_unit(out)

    def report_loss(self) -> bool:
        """Packets are missing here; False if what came of a unit was left out."""
        return self._fu_assembler.report_loss()
