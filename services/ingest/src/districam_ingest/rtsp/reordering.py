"""RTP packets that came over UDP into the order of their numbers (RFC 3550 section 5.1), without waiting long for any."""

from typing import Final

MAX_DROPOUT: Final = 3000
"""A packet whose number is so far off is waited for by nobody: the numbers go on from there (RFC 3550 appendix A.1)."""
HELD_US: Final = 150_000
"""So long a missing packet is waited for; the network overtakes by less."""
HELD_MOST: Final = 256
_HEADER: Final = 12

Timed = tuple[bytes, int]
"""A packet and when it arrived."""


class Reordering:
    """One source's packets. What comes twice, or too late, is left out; a new source begins anew."""

    def __init__(self) -> None:
        self._ssrc: bytes = b""
        self._next = 0
        self._held: dict[int, Timed] = {}

    @property
    def held(self) -> int:
        """How many packets wait for others."""
        return len(self._held)

    def push(self, packet: bytes, at_us: int) -> list[Timed]:
        """Takes the next to arrive; gives those whose turn it is. What is no RTP is left out."""
        if len(packet) < _HEADER or packet[0] >> 6 != 2:
            return []
        seq, ssrc = packet[2] << 8 | packet[3], packet[8:12]
        ahead = (seq - self._next) & 0xFFFF
        if ssrc != self._ssrc or MAX_DROPOUT <= ahead < 0x1_0000 - MAX_DROPOUT:
            rest = self.flush()
            self._ssrc, self._next = ssrc, (seq + 1) & 0xFFFF
            return [*rest, (packet, at_us)]
        if ahead >= MAX_DROPOUT:
            return []
        if ahead == 0 and not self._held:
            self._next = (seq + 1) & 0xFFFF
            return [(packet, at_us)]
        self._held.setdefault(seq, (packet, at_us))
        out = self._in_turn()
        while len(self._held) > HELD_MOST:
            out += self._skip()
        return out

    def due(self, now_us: int) -> list[Timed]:
        """Gives up the missing packets for which others have waited long enough; gives those."""
        out: list[Timed] = []
        while self._held and now_us - min(at_us for _, at_us in self._held.values()) >= HELD_US:
            out += self._skip()
        return out

    def _in_turn(self) -> list[Timed]:
        out: list[Timed] = []
        while (found := self._held.pop(self._next, None)) is not None:
            out.append(found)
            self._next = (self._next + 1) & 0xFFFF
        return out

    def _skip(self) -> list[Timed]:
        """Goes on with the earliest that is held."""
        self._next = min(self._held, key=lambda seq: (seq - self._next) & 0xFFFF)
        return self._in_turn()

    def flush(self) -> list[Timed]:
        """Gives all that is held: nothing more comes."""
        out: list[Timed] = []
        while self._held:
            out += self._skip()
        return out
