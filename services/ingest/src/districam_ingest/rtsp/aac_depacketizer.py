"""AAC out of RTP payloads (RFC 3640 section 3): whole access units, several in a packet, or one over several packets."""

from dataclasses import dataclass

from districam_ingest.rtsp.message import RtspError

MAX_ACCESS_UNIT_BYTES = 1 << 16
MAX_AU_HEADERS_BITS = 256 * 16
"""Bits of AU headers in a packet; some hundred units of the least size fill an Ethernet frame."""


@dataclass(frozen=True, slots=True)
class AuHeaderFormat:
    """How an AU header is made up, in bits (section 4.1): size, index of the first one, distance of the following."""

    size_length: int
    index_length: int
    index_delta_length: int


class AacDepacketizer:
    """Takes payloads in order. Interleaved access units (an index or a distance other than 0) are refused."""

    def __init__(self, au_headers: AuHeaderFormat) -> None:
        self._au_headers = au_headers
        self._partial = bytearray()
        self._size = 0
        self._timestamp: int | None = None

    def feed(self, payload: bytes, timestamp: int) -> list[bytes]:
        """The access units that are complete now.

        Raises:
            RtspError: the payload is malformed; nothing of it is given.
        """
        sizes, body = self._parse_au_sizes(payload)
        if self._partial and timestamp != self._timestamp:
            self.report_loss()
        left = len(body)
        if len(sizes) == 1 and (self._partial or sizes[0] > left):
            return self._feed_fragment(body, sizes[0], timestamp)
        if sum(sizes) > left:
            raise RtspError("an access unit is cut off")
        units: list[bytes] = []
        at = 0
        for size in sizes:
            units.append(body[at : at + size])
            at += size
        return [unit for unit in units if unit]

    def report_loss(self) -> None:
        """A packet is missing: what was begun cannot be completed."""
        self._partial.clear()

    def _feed_fragment(self, body: bytes, size: int, timestamp: int) -> list[bytes]:
        """Each fragment says the size of the whole unit."""
        if not self._partial:
            self._size, self._timestamp = size, timestamp
        self._partial += body
        if len(self._partial) < self._size:
            return []
        unit = bytes(self._partial)
        self._partial.clear()
        if len(unit) != self._size:
            raise RtspError("an access unit is longer than it says")
        return [unit]

    def _parse_au_sizes(self, payload: bytes) -> tuple[list[int], bytes]:
        if len(payload) < 2:
            raise RtspError("a payload without AU headers")
        bits = int.from_bytes(payload[:2], "big")
        if bits > MAX_AU_HEADERS_BITS:
            raise RtspError("too many AU headers")
        end = 2 + (bits + 7) // 8
        if end > len(payload):
            raise RtspError("the AU headers are cut off")
        value, left = int.from_bytes(payload[2:end], "big"), 8 * (end - 2)
        sizes: list[int] = []
        read = 0
        while read < bits:
            width = self._au_headers.index_delta_length if sizes else self._au_headers.index_length
            read += self._au_headers.size_length + width
            if read > bits:
                raise RtspError("an AU header is cut off")
            field = value >> left - read & (1 << self._au_headers.size_length + width) - 1
            if field & (1 << width) - 1:
                raise RtspError("interleaved access units")
            sizes.append(field >> width)
        if not sizes:
            raise RtspError("a payload without AU headers")
        return sizes, payload[end:]
