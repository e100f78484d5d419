"""A connection's bytes into messages and interleaved packets (RFC 2326 section 10.12), however they were split."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from districam_ingest.rtsp.message import HEADER_MOST, Message, RtspError, body_length, parse_head

Item = tuple[int, bytes] | Message
"""A channel and its packet, or a message."""

Skim = Callable[[bytes, int], int]
"""Is shown the data and where in them an interleaved packet begins; takes as many packets as it likes, and says where
it stopped."""

_DOLLAR: Final = 0x24
_END: Final = re.compile(rb"\r?\n\r?\n")
_BLANK: Final = re.compile(rb"[\r\n]+")
_END_MOST: Final = 4
"""Bytes of the longest end of a head: so far back a search that goes on has to begin."""
_BEGINNING: Final = re.compile(rb"\$[\0-\x0f].{2}[\x80-\xbf]|RTSP/", re.DOTALL)
"""What an interleaved RTP or RTCP packet (version 2, RFC 3550 section 5.1) or a response begins with, behind stray bytes."""
_BEGINNING_BYTES: Final = 5
_WORD: Final = re.compile(rb"[A-Z][A-Z_]{0,1}\Z|[A-Z][A-Z_]{2}")
"""Three letters of RTSP/1.0 or of a method, or as many as there are."""
STRAY_MOST: Final = 4 << 10
"""Bytes between packets that are neither. A Canon VB-H47 leaves some (docs/cameras.md: stray-bytes), as if a packet had lost its
header; more of them are another protocol."""


class Framer:
    """Holds what is incomplete: a head of 16 KiB, a body of 256 KiB, a packet of 64 KiB at most.

    However small the pieces in which it comes, each byte of it is looked at a bounded number of times. Stray bytes behind
    the first packet are passed over, `STRAY_MOST` at most in one place: what was lost with them, sequence numbers tell.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = 0
        self._needs = 0  # bytes to be held before it is worth looking again
        self._searched = 0  # bytes of an incomplete head that do not hold its end
        self._has_packets = False
        self._stray: int | None = None  # bytes passed over since the last item, while its successor is sought

    def feed(self, data: bytes, skim: Skim = lambda _, at: at) -> Iterator[Item]:
        """What is complete now and was not skimmed; to be exhausted.

        Raises:
            RtspError: neither a packet nor a message; nothing can be read any more.
        """
        if self._held:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._needs:
                return iter(())
            data = b"".join(self._pieces)
        return self._items(data, skim)

    def _items(self, data: bytes, skim: Skim) -> Iterator[Item]:
        searched, self._searched = self._searched, 0
        at, size, needs = 0, len(data), 1
        while at < size:
            if self._stray is None and data[at] == _DOLLAR:
                self._has_packets = True
                at = skim(data, at)
                if at == size or data[at] != _DOLLAR:
                    continue
                needs = 4 if size - at < 4 else 4 + (data[at + 2] << 8 | data[at + 3])
                if needs > size - at:
                    break
                end = at + needs
                yield data[at + 1], data[at + 4 : end]
            elif self._stray is not None or (self._has_packets and _is_stray(data, at)):
                at, searched, needs = self._passed_over(data, at), 0, _BEGINNING_BYTES
                if self._stray is not None:
                    break
                continue
            elif data[at] in b"\r\n":  # between messages some cameras leave a line
                end = _blank_end(data, at)
            else:
                message, end = _message(data, at, at + searched)
                if message is None:
                    needs, self._searched = (end - at, 0) if end else (size - at + 1, size - at)
                    break
                yield message
            at, searched = end, 0
        self._held, self._needs = size - at, needs
        self._pieces = [data[at:]] if at < size else []

    def _passed_over(self, data: bytes, at: int) -> int:
        """Where the next packet or response begins; while none does, the place from which on one may.

        Raises:
            RtspError: none begins within `STRAY_MOST` bytes.
        """
        before = self._stray or 0
        found = _BEGINNING.search(data, at, at + STRAY_MOST - before + _BEGINNING_BYTES)
        end = found.start() if found is not None else max(at, len(data) - _BEGINNING_BYTES + 1)
        passed = before + end - at
        if passed > STRAY_MOST:
            raise RtspError("neither a packet nor a message")
        self._stray = passed if found is None else None
        return end


def _is_stray(data: bytes, at: int) -> bool:
    """Whether what begins here is neither a packet, nor a blank line, nor the first word of a message."""
    return data[at] not in b"$\r\n" and _WORD.match(data, at) is None


def _blank_end(data: bytes, at: int) -> int:
    blank = _BLANK.match(data, at)
    return at + 1 if blank is None else blank.end()


def _message(data: bytes, at: int, searched: int) -> tuple[Message | None, int]:
    """The message that begins at `at` and its end, which None and an end beyond the data say is still to come.

    Its head does not end before `searched`; 0 for an end that is not known.
    """
    if not 0x41 <= data[at] <= 0x5A:  # RTSP/1.0, or a method
        raise RtspError("neither a packet nor a message")
    found = _END.search(data, max(at, searched - _END_MOST), at + HEADER_MOST)
    if found is None:
        if len(data) - at >= HEADER_MOST:
            raise RtspError("a message's head does not end")
        return None, 0
    message = parse_head(data[at : found.start()])
    end = found.end() + body_length(message)
    if end > len(data):
        return None, end
    body = data[found.end() : end]
    return Message(message.status, message.method, message.headers, body), end
