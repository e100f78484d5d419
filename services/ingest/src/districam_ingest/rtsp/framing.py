"""A connection's bytes into messages and interleaved packets (RFC 2326 section 10.12), however they were split."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from districam_ingest.rtsp.message import MAX_HEAD_BYTES, Message, RtspError, content_length, parse_head

Item = tuple[int, bytes] | Message
"""A channel and its packet, or a message."""

FastPath = Callable[[bytes, int], int]
"""Is shown the data and where in them an interleaved packet begins; takes as many packets as it likes, and says where
it stopped."""

_INTERLEAVED_MAGIC: Final = 0x24
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_BLANK_LINES: Final = re.compile(rb"[\r\n]+")
_MAX_HEAD_END_BYTES: Final = 4
"""Bytes of the longest end of a head: so far back a search that goes on has to begin."""
_RESYNC_PATTERN: Final = re.compile(rb"\$[\0-\x0f].{2}[\x80-\xbf]|RTSP/", re.DOTALL)
"""What an interleaved RTP or RTCP packet (version 2, RFC 3550 section 5.1) or a response begins with, behind stray bytes."""
_RESYNC_BYTES: Final = 5
_MESSAGE_START: Final = re.compile(rb"[A-Z][A-Z_]{0,1}\Z|[A-Z][A-Z_]{2}")
"""Three letters of RTSP/1.0 or of a method, or as many as there are."""
MAX_STRAY_BYTES: Final = 4 << 10
"""Bytes between packets that are neither. A Canon VB-H47 leaves some (docs/cameras.md: stray-bytes), as if a packet had lost its
header; more of them are another protocol."""


class Framer:
    """Holds what is incomplete: a head of 16 KiB, a body of 256 KiB, a packet of 64 KiB at most.

    However small the pieces in which it comes, each byte of it is looked at a bounded number of times. Stray bytes behind
    the first packet are passed over, `STRAY_MOST` at most in one place: what was lost with them, sequence numbers tell.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._needed_bytes = 0  # bytes to be held before it is worth looking again
        self._searched_bytes = 0  # bytes of an incomplete head that do not hold its end
        self._has_packets = False
        self._skipped_bytes: int | None = None  # bytes passed over since the last item, while its successor is sought

    def feed(self, data: bytes, fast_path: FastPath = lambda _, at: at) -> Iterator[Item]:
        """What is complete now and was not skimmed; to be exhausted.

        Raises:
            RtspError: neither a packet nor a message; nothing can be read any more.
        """
        if self._buffered_bytes:
            self._pieces.append(data)
            self._buffered_bytes += len(data)
            if self._buffered_bytes < self._needed_bytes:
                return iter(())
            data = b"".join(self._pieces)
        return self._parse_items(data, fast_path)

    def _parse_items(self, data: bytes, fast_path: FastPath) -> Iterator[Item]:
        searched, self._searched_bytes = self._searched_bytes, 0
        at, size, needed = 0, len(data), 1
        while at < size:
            if self._skipped_bytes is None and data[at] == _INTERLEAVED_MAGIC:
                self._has_packets = True
                at = fast_path(data, at)
                if at == size or data[at] != _INTERLEAVED_MAGIC:
                    continue
                needed = 4 if size - at < 4 else 4 + (data[at + 2] << 8 | data[at + 3])
                if needed > size - at:
                    break
                end = at + needed
                yield data[at + 1], data[at + 4 : end]
            elif self._skipped_bytes is not None or (self._has_packets and _is_stray(data, at)):
                at, searched, needed = self._skip_stray_bytes(data, at), 0, _RESYNC_BYTES
                if self._skipped_bytes is not None:
                    break
                continue
            elif data[at] in b"\r\n":  # between messages some cameras leave a line
                end = _blank_end(data, at)
            else:
                message, end = _parse_message(data, at, at + searched)
                if message is None:
                    needed, self._searched_bytes = (end - at, 0) if end else (size - at + 1, size - at)
                    break
                yield message
            at, searched = end, 0
        self._buffered_bytes, self._needed_bytes = size - at, needed
        self._pieces = [data[at:]] if at < size else []

    def _skip_stray_bytes(self, data: bytes, at: int) -> int:
        """Where the next packet or response begins; while none does, the place from which on one may.

        Raises:
            RtspError: none begins within `STRAY_MOST` bytes.
        """
        before = self._skipped_bytes or 0
        found = _RESYNC_PATTERN.search(data, at, at + MAX_STRAY_BYTES - before + _RESYNC_BYTES)
        end = found.start() if found is not None else max(at, len(data) - _RESYNC_BYTES + 1)
        passed = before + end - at
        if passed > MAX_STRAY_BYTES:
            raise RtspError("neither a packet nor a message")
        self._skipped_bytes = passed if found is None else None
        return end


def _is_stray(data: bytes, at: int) -> bool:
    """Whether what begins here is neither a packet, nor a blank line, nor the first word of a message."""
    return data[at] not in b"$\r\n" and _MESSAGE_START.match(data, at) is None


def _blank_end(data: bytes, at: int) -> int:
    blank = _BLANK_LINES.match(data, at)
    return at + 1 if blank is None else blank.end()


def _parse_message(data: bytes, at: int, searched: int) -> tuple[Message | None, int]:
    """The message that begins at `at` and its end, which None and an end beyond the data say is still to come.

    Its head does not end before `searched`; 0 for an end that is not known.
    """
    if not 0x41 <= data[at] <= 0x5A:  # RTSP/1.0, or a method
        raise RtspError("neither a packet nor a message")
    found = _HEAD_END.search(data, max(at, searched - _MAX_HEAD_END_BYTES), at + MAX_HEAD_BYTES)
    if found is None:
        if len(data) - at >= MAX_HEAD_BYTES:
            raise RtspError("a message's head does not end")
        return None, 0
    message = parse_head(data[at : found.start()])
    end = found.end() + content_length(message)
    if end > len(data):
        return None, end
    body = data[found.end() : end]
    return Message(message.status, message.method, message.headers, body), end
