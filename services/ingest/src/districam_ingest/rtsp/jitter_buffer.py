"""RTP packets that came over UDP into the order of their numbers (RFC 3550 section 5.1), without waiting long for any."""

from typing import Final

MAX_DROPOUT: Final = 3000
"""A packet whose number is so far off is waited for by nobody: the numbers go on from there (RFC 3550 appendix A.1)."""
MAX_WAIT_US: Final = 150_000
"""So long a missing packet is waited for; the network overtakes by less."""
MAX_HELD_PACKETS: Final = 256
_HEADER: Final = 12

TimedPacket = tuple[bytes, int]
"""A packet and when it arrived."""


class JitterBuffer:
    """One source's packets. What comes twice, or too late, is left out; a new source begins anew."""

    def __init__(self) -> None:
        self._ssrc: bytes = b""
        self._next_seq = 0
        self._held: dict[int, TimedPacket] = {}

    @property
    def held_count(self) -> int:
        """How many packets wait for others."""
        return len(self._held)

    def feed(self, packet: bytes, arrival_us: int) -> list[TimedPacket]:
        """Takes the next to arrive; gives those whose turn it is. What is no RTP is left out."""
        if len(packet) < _HEADER or packet[0] >> 6 != 2:
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
        """Gives up the missing packets for which others have waited long enough; gives those."""
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
        """Goes on with the earliest that is held."""
        self._next_seq = min(self._held, key=lambda seq: (seq - self._next_seq) & 0xFFFF)
        return self._drain_in_order()

    def drain_all(self) -> list[TimedPacket]:
        """Gives all that is held: nothing more comes."""
        out: list[TimedPacket] = []
        while self._held:
            out += self._skip_gap()
        return out
