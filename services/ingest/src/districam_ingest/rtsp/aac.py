"""AAC out of RTP payloads (RFC 3640 section 3): whole access units, several in a packet, or one over several packets."""

from dataclasses import dataclass

from districam_ingest.rtsp.message import RtspError

UNIT_MOST = 1 << 16
HEADERS_MOST = 256 * 16
"""Bits of AU headers in a packet; some hundred units of the least size fill an Ethernet frame."""


@dataclass(frozen=True, slots=True)
class AuHeaders:
    """How an AU header is made up, in bits (section 4.1): size, index of the first one, distance of the following."""

    size: int
    index: int
    delta: int


class AacDepacketizer:
    """Takes payloads in order. Interleaved access units (an index or a distance other than 0) are refused."""

    def __init__(self, headers: AuHeaders) -> None:
        self._headers = headers
        self._begun = bytearray()
        self._size = 0
        self._timestamp: int | None = None

    def push(self, payload: bytes, timestamp: int) -> list[bytes]:
        """The access units that are complete now.

        Raises:
            RtspError: the payload is malformed; nothing of it is given.
        """
        sizes, body = self._sizes(payload)
        if self._begun and timestamp != self._timestamp:
            self.lose()
        left = len(body)
        if len(sizes) == 1 and (self._begun or sizes[0] > left):
            return self._go_on(body, sizes[0], timestamp)
        if sum(sizes) > left:
            raise RtspError("an access unit is cut off")
        units: list[bytes] = []
        at = 0
        for size in sizes:
            units.append(body[at : at + size])
            at += size
        return [unit for unit in units if unit]

    def lose(self) -> None:
        """A packet is missing: what was begun cannot be completed."""
        self._begun.clear()

    def _go_on(self, body: bytes, size: int, timestamp: int) -> list[bytes]:
        """Each fragment says the size of the whole unit."""
        if not self._begun:
            self._size, self._timestamp = size, timestamp
        self._begun += body
        if len(self._begun) < self._size:
            return []
        unit = bytes(self._begun)
        self._begun.clear()
        if len(unit) != self._size:
            raise RtspError("an access unit is longer than it says")
        return [unit]

    def _sizes(self, payload: bytes) -> tuple[list[int], bytes]:
        if len(payload) < 2:
            raise RtspError("a payload without AU headers")
        bits = int.from_bytes(payload[:2], "big")
        if bits > HEADERS_MOST:
            raise RtspError("too many AU headers")
        end = 2 + (bits + 7) // 8
        if end > len(payload):
            raise RtspError("the AU headers are cut off")
        value, left = int.from_bytes(payload[2:end], "big"), 8 * (end - 2)
        sizes: list[int] = []
        read = 0
        while read < bits:
            width = self._headers.delta if sizes else self._headers.index
            read += self._headers.size + width
            if read > bits:
                raise RtspError("an AU header is cut off")
            field = value >> left - read & (1 << self._headers.size + width) - 1
            if field & (1 << width) - 1:
                raise RtspError("interleaved access units")
            sizes.append(field >> width)
        if not sizes:
            raise RtspError("a payload without AU headers")
        return sizes, payload[end:]
