"""Reassembles fragmented NAL units: FU-A (RFC 6184 section 5.8) and FU (RFC 7798 section 4.4.3)."""

from typing import Final

from districam_ingest.codec.nal import Codec, is_slice, split_annexb
from districam_ingest.rtsp.message import RtspError

MAX_PICTURE_BYTES: Final = 16 << 20
_PART_OVERHEAD_BYTES: Final = 64
"""Counted for every fragment, so that empty ones are bounded too."""


class FuAssembler:
    """Reassembles FU payloads, `MAX_PICTURE_BYTES` at most; incomplete NAL units are dropped."""

    def __init__(self, codec: Codec) -> None:
        self._codec: Codec = codec
        self._parts: list[bytes] = []
        self._size = 0
        self._is_incomplete = True  # joined mid-unit: drop fragments until the next start bit
        self._has_end_bits = False

    def feed_start(self, head: bytes, body: bytes, out: list[bytes]) -> bool:
        """Takes the NAL unit header and the first fragment. False if the previous unit was dropped."""
        is_whole = self.close_unit(out)
        self._parts, self._size, self._is_incomplete = [head, body], len(body), False
        return is_whole

    def feed_middle(self, body: bytes) -> bool:
        """Takes a further fragment; False if it is dropped because an earlier one is missing.

        Raises:
            RtspError: there was no first fragment though no packet is missing, or the unit is too large.
        """
        if not self._parts:
            if self._is_incomplete:
                return False
            raise RtspError("a fragmentation unit without a start")
        self._parts.append(body)
        self._size += len(body) + _PART_OVERHEAD_BYTES
        if self._size > MAX_PICTURE_BYTES:
            self._parts = []
            raise RtspError(f"a NAL unit exceeds {MAX_PICTURE_BYTES} bytes")
        return True

    def try_feed_middle(self, body: bytes) -> bool:
        """Takes a further fragment if a unit is open and has room; otherwise returns False and changes nothing."""
        size = self._size + len(body) + _PART_OVERHEAD_BYTES
        if not self._parts or size > MAX_PICTURE_BYTES:
            return False
        self._parts.append(body)
        self._size = size
        return True

    def complete_unit(self, out: list[bytes]) -> None:
        """Appends the open unit to `out`: the last fragment had the end bit."""
        self._is_incomplete, self._has_end_bits = False, True
        if self._parts:
            append_nal(self._codec, b"".join(self._parts), out)
            self._parts = []

    def close_unit(self, out: list[bytes]) -> bool:
        """Ends the open unit without an end bit; False if it is dropped.

        It is whole if the camera has never set an end bit, as some do not.
        """
        if not self._parts:
            return True
        if not self._has_end_bits:
            append_nal(self._codec, b"".join(self._parts), out)
        self._parts = []
        return not self._has_end_bits

    def report_loss(self) -> bool:
        """Drops the open unit, whose rest is missing. False if there was one."""
        had, self._parts, self._is_incomplete = bool(self._parts), [], True
        return not had


_START: Final = b"\0\0\1"


def append_nal(codec: Codec, unit: bytes, out: list[bytes]) -> None:
    """Appends a NAL unit to `out`, or several if the camera sent them as one, separated by start codes.

    A NAL unit never contains a start code (H.264 section 7.4.1, H.265 section 7.4.2.1). V380 cameras send
    parameter sets and the keyframe like that (docs/cameras.md: annexb-payload). Units that start with a
    slice, nearly all of a stream, are not searched.
    """
    if is_slice(codec, unit) or _START not in unit:
        out.append(unit)
    else:
        out += split_annexb(_START + unit)


class NalDepacketizer:
    """Base of the H.264 and H.265 depacketizers: reassembly, with a fast path for middle fragments."""

    def __init__(self, codec: Codec) -> None:
        self._codec: Codec = codec
        self._fu_assembler = FuAssembler(codec)
        self._middle_header = b"\xff\xff"  # of the open unit's fragments without start and end bit

    def try_feed_middle(self, data: bytes, at: int, end: int) -> bool:
        """Takes payload data[at:end] if it is a middle fragment of the open unit; False if it needs `feed`."""
        body = at + len(self._middle_header)
        is_middle = body <= end and data[at:body] == self._middle_header
        return is_middle and self._fu_assembler.try_feed_middle(data[body:end])

    def close_unit(self, out: list[bytes]) -> bool:
        """Ends the open fragmented unit; False if it is dropped."""
        return self._fu_assembler.close_unit(out)

    def report_loss(self) -> bool:
        """Drops the open unit, whose rest is missing. False if there was one."""
        return self._fu_assembler.report_loss()
