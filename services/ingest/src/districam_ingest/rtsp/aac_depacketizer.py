"""Depacketizes AAC (RFC 3640 section 3): several access units per packet, or one in several packets."""

from dataclasses import dataclass

from districam_ingest.rtsp.message import RtspError

MAX_ACCESS_UNIT_BYTES = 1 << 16
MAX_AU_HEADERS_BITS = 256 * 16
"""The largest AU-headers-length. An Ethernet frame holds some hundred of the shortest access units."""


@dataclass(frozen=True, slots=True)
class AuHeaderFormat:
    """Bits of AU-size, AU-Index (in the first AU header) and AU-Index-delta (in the others) (section 3.2.1.1)."""

    size_length: int
    index_length: int
    index_delta_length: int


class AacDepacketizer:
    """Takes payloads in order. Interleaving (an AU-Index or AU-Index-delta other than 0) is not supported."""

    def __init__(self, au_headers: AuHeaderFormat) -> None:
        self._au_headers = au_headers
        self._partial = bytearray()
        self._size = 0
        self._timestamp: int | None = None

    def feed(self, payload: bytes, timestamp: int) -> list[bytes]:
        """Takes a payload; returns the access units that it completes.

        Raises:
            RtspError: the payload is malformed or interleaved; none of its access units are returned.
        """
        sizes, body = self._parse_au_sizes(payload)
        if self._partial and timestamp != self._timestamp:
            self.report_loss()
        left = len(body)
        if len(sizes) == 1 and (self._partial or sizes[0] > left):
            return self._feed_fragment(body, sizes[0], timestamp)
        if sum(sizes) > left:
            raise RtspError("an AAC access unit is truncated")
        units: list[bytes] = []
        at = 0
        for size in sizes:
            units.append(body[at : at + size])
            at += size
        return [unit for unit in units if unit]

    def report_loss(self) -> None:
        """Discards the incomplete access unit: a packet is missing."""
        self._partial.clear()

    def _feed_fragment(self, body: bytes, size: int, timestamp: int) -> list[bytes]:
        """Takes a fragment; its AU-size is that of the whole access unit (section 3.2.1.1)."""
        if not self._partial:
            self._size, self._timestamp = size, timestamp
        self._partial += body
        if len(self._partial) < self._size:
            return []
        unit = bytes(self._partial)
        self._partial.clear()
        if len(unit) != self._size:
            raise RtspError("an AAC access unit is longer than its AU-size")
        return [unit]

    def _parse_au_sizes(self, payload: bytes) -> tuple[list[int], bytes]:
        """The AU-size of each AU header, and the access unit data section after them (section 3.2)."""
        if len(payload) < 2:
            raise RtspError("an AAC payload has no AU headers")
        bits = int.from_bytes(payload[:2], "big")  # AU-headers-length
        if bits > MAX_AU_HEADERS_BITS:
            raise RtspError("too many AU headers")
        end = 2 + (bits + 7) // 8
        if end > len(payload):
            raise RtspError("the AU headers are truncated")
        value, left = int.from_bytes(payload[2:end], "big"), 8 * (end - 2)
        sizes: list[int] = []
        read = 0
        while read < bits:
            width = self._au_headers.index_delta_length if sizes else self._au_headers.index_length
            read += self._au_headers.size_length + width
            if read > bits:
                raise RtspError("an AU header is truncated")
            field = value >> left - read & (1 << self._au_headers.size_length + width) - 1
            if field & (1 << width) - 1:  # AU-Index or AU-Index-delta
                raise RtspError("interleaved AAC access units are not supported")
            sizes.append(field >> width)
        if not sizes:
            raise RtspError("an AAC payload has no AU headers")
        return sizes, payload[end:]
