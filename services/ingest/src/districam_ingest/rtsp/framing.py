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


class Framer:
    """Holds what is incomplete: a head of 64 KiB, a body of 1 MiB, a packet of 64 KiB at most."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, skim: Skim = lambda _, at: at) -> Iterator[Item]:
        """What is complete now and was not skimmed; to be exhausted.

        Raises:
            RtspError: neither a packet nor a message; nothing can be read any more.
        """
        data = self._rest + data if self._rest else data
        at, size = 0, len(data)
        while at < size:
            if data[at] == _DOLLAR:
                at = skim(data, at)
                if at == size or data[at] != _DOLLAR:
                    continue
                if size - at < 4:
                    break
                end = at + 4 + (data[at + 2] << 8 | data[at + 3])
                if end > size:
                    break
                yield data[at + 1], data[at + 4 : end]
            elif data[at] in b"\r\n":  # between messages some cameras leave a line
                end = at + 1
            else:
                message, end = _message(data, at)
                if message is None:
                    break
                yield message
            at = end
        self._rest = data[at:]


def _message(data: bytes, at: int) -> tuple[Message | None, int]:
    """The message that begins there and its end; None while it is incomplete."""
    if not 0x41 <= data[at] <= 0x5A:  # RTSP/1.0, or a method
        raise RtspError("neither a packet nor a message")
    found = _END.search(data, at, at + HEADER_MOST)
    if found is None:
        if len(data) - at >= HEADER_MOST:
            raise RtspError("a message's head does not end")
        return None, at
    message = parse_head(data[at : found.start()])
    end = found.end() + body_length(message)
    if end > len(data):
        return None, at
    body = data[found.end() : end]
    return Message(message.status, message.method, message.headers, body), end
