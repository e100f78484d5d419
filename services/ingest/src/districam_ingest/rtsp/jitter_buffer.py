"""Reorders RTP packets received over UDP by sequence number (RFC 3550 section 5.1), with a bounded wait."""

from typing import Final

MAX_DROPOUT: Final = 3000
"""A sequence number this far off restarts the numbering (RFC 3550 appendix A.1)."""
MAX_WAIT_US: Final = 150_000
"""How long a missing packet is waited for; reordering in a network stays below it."""
MAX_HELD_PACKETS: Final = 256
_HEADER: Final = 12  # bytes of the fixed RTP header

TimedPacket = tuple[bytes, int]
"""A packet and its time of arrival, µs monotonic."""


class JitterBuffer:
    """One track's packets. Duplicates and late packets are dropped; a new SSRC restarts the numbering."""

    def __init__(self) -> None:
        self._ssrc: bytes = b""
        self._next_seq = 0
        self._held: dict[int, TimedPacket] = {}

    @property
    def held_count(self) -> int:
        """Packets that wait for earlier ones."""
        return len(self._held)

    def feed(self, packet: bytes, arrival_us: int) -> list[TimedPacket]:
        """Takes a packet; returns the packets that are now in sequence. What is not RTP is dropped."""
        if len(packet) < _HEADER or packet[0] >> 6 != 2:  # version
            return []
        seq, ssrc = packet[2] << 8 | packet[3], packet[8:12]
        ahead = (seq - self._next_seq) & 0xFFFF
        if ssrc != self._ssrc or MAX_DROPOUT <= ahead < 0x1_0000 - MAX_DROPOUT:
            rest = self.drain_all()
            self._ssrc, self._next_seq = ssrc, (seq + 1) & 0xFFFF
            return [*rest, (packet, arrival_us)]
        if ahead >= MAX_DROPOUT:
            return []
        if ahead == 0 and not self._held:
            self._next_seq = (seq + 1) & 0xFFFF
            return [(packet, arrival_us)]
        self._held.setdefault(seq, (packet, arrival_us))
        out = self._drain_in_order()
        while len(self._held) > MAX_HELD_PACKETS:
            out += self._skip_gap()
        return out

    def drain(self, now_us: int) -> list[TimedPacket]:
        """Gives up on missing packets after `MAX_WAIT_US`; returns the packets that waited for them."""
        out: list[TimedPacket] = []
        while self._held and now_us - min(arrival_us for _, arrival_us in self._held.values()) >= MAX_WAIT_US:
            out += self._skip_gap()
        return out

    def _drain_in_order(self) -> list[TimedPacket]:
        out: list[TimedPacket] = []
        while (found := self._held.pop(self._next_seq, None)) is not None:
            out.append(found)
            self._next_seq = (self._next_seq + 1) & 0xFFFF
        return out

    def _skip_gap(self) -> list[TimedPacket]:
        """Gives up on the packets missing before the earliest one that is held."""
        self._next_seq = min(self._held, key=lambda seq: (seq - self._next_seq) & 0xFFFF)
        return self._drain_in_order()

    def drain_all(self) -> list[TimedPacket]:
        """Returns all held packets in sequence, without waiting for missing ones."""
        out: list[TimedPacket] = []
        while self._held:
            out += self._skip_gap()
        return out
