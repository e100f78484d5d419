"""Splits a connection's byte stream into RTSP messages and interleaved packets (RFC 2326 section 10.12)."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from districam_ingest.rtsp.message import MAX_HEAD_BYTES, Message, RtspError, content_length, parse_head

Item = tuple[int, bytes] | Message
"""Channel and packet, or a message."""

FastPath = Callable[[bytes, int], int]
"""Called with the data and the position of an interleaved packet; consumes any number of packets, returns
where it stopped."""

_INTERLEAVED_MAGIC: Final = 0x24
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_BLANK_LINES: Final = re.compile(rb"[\r\n]+")
_MAX_HEAD_END_BYTES: Final = 4
"""Length of the longest `_HEAD_END`: a resumed search has to start this many bytes earlier."""
_RESYNC_PATTERN: Final = re.compile(rb"\$[\0-\x0f].{2}[\x80-\xbf]|RTSP/", re.DOTALL)
"""Start of a response, or of an interleaved packet (channels 0 to 15, version 2: RFC 3550 section 5.1)."""
_RESYNC_BYTES: Final = 5
_MESSAGE_START: Final = re.compile(rb"[A-Z][A-Z_]{0,1}\Z|[A-Z][A-Z_]{2}")
"""The first three letters of RTSP/1.0 or of a method, fewer at the end of the data."""
MAX_STRAY_BYTES: Final = 4 << 10
"""Bytes skipped between packets. A Canon VB-H47 sends some, as if a packet had lost its header
(docs/cameras.md: stray-bytes); more of them mean that this is not RTSP."""


class Framer:
    """Buffers an incomplete item: at most a head of 16 KiB, a body of 256 KiB, or a packet of 64 KiB.

    Each byte is scanned a bounded number of times, however the stream is split. After the first packet, stray
    bytes are skipped, at most `MAX_STRAY_BYTES` in a row; sequence numbers tell what was lost with them.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._needed_bytes = 0  # parsing is pointless before this many bytes are buffered
        self._searched_bytes = 0  # bytes of an incomplete head that were searched for its end
        self._has_packets = False
        self._skipped_bytes: int | None = None  # since the last item; None if not resynchronizing

    def feed(self, data: bytes, fast_path: FastPath = lambda _, at: at) -> Iterator[Item]:
        """Yields the complete items that `fast_path` did not consume. The caller must exhaust the iterator.

        Raises:
            RtspError: neither a packet nor a message; the stream cannot be parsed any further.
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
            elif data[at] in b"\r\n":  # some cameras send blank lines between messages
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
        """Position of the next packet or response; if there is none, the first position at which one may start.

        Raises:
            RtspError: none starts within `MAX_STRAY_BYTES`.
        """
        before = self._skipped_bytes or 0
        found = _RESYNC_PATTERN.search(data, at, at + MAX_STRAY_BYTES - before + _RESYNC_BYTES)
        end = found.start() if found is not None else max(at, len(data) - _RESYNC_BYTES + 1)
        passed = before + end - at
        if passed > MAX_STRAY_BYTES:
            raise RtspError("neither an interleaved packet nor an RTSP message")
        self._skipped_bytes = passed if found is None else None
        return end


def _is_stray(data: bytes, at: int) -> bool:
    """Whether neither a packet, nor a blank line, nor a message starts at `at`."""
    return data[at] not in b"$\r\n" and _MESSAGE_START.match(data, at) is None


def _blank_end(data: bytes, at: int) -> int:
    blank = _BLANK_LINES.match(data, at)
    return at + 1 if blank is None else blank.end()


def _parse_message(data: bytes, at: int, searched: int) -> tuple[Message | None, int]:
    """The message that starts at `at` and its end; None and its end, 0 if unknown, if it is incomplete.

    The end of its head is searched from `searched` on.
    """
    if not 0x41 <= data[at] <= 0x5A:  # a capital letter: RTSP/1.0, or a method
        raise RtspError("neither an interleaved packet nor an RTSP message")
    found = _HEAD_END.search(data, max(at, searched - _MAX_HEAD_END_BYTES), at + MAX_HEAD_BYTES)
    if found is None:
        if len(data) - at >= MAX_HEAD_BYTES:
            raise RtspError(f"an RTSP message head exceeds {MAX_HEAD_BYTES} bytes")
        return None, 0
    message = parse_head(data[at : found.start()])
    end = found.end() + content_length(message)
    if end > len(data):
        return None, end
    body = data[found.end() : end]
    return Message(message.status, message.method, message.headers, body), end
