"""Deterministic packet loss and reordering."""

import random

from districam_devkit.simcam.faults import RateFault

REORDER_DISTANCE = 2


class NetworkImpairment:
    """Drops packets and delays others behind later ones, the same ones in each run.

    Attributes:
        lost_packets: connection and picture of each packet that was lost.
    """

    def __init__(self, seed: str) -> None:
        self.lost_packets: list[tuple[int, int]] = []
        self._rng = random.Random(seed)
        self._rates: dict[RateFault, tuple[float, float]] = {}

    def set_rate(self, kind: RateFault, percent: float, until_s: float) -> None:
        self._rates[kind] = (percent / 100, until_s)

    def apply(self, packets: list[bytes], now_s: float, *, connection: int, number: int, in_order: bool) -> list[bytes]:
        """Returns the packets of a picture that arrive, in their order of arrival."""
        left = packets
        rate = self._rate("lose", now_s)
        if rate:
            left = [packet for packet in packets if self._rng.random() >= rate]
            self.lost_packets += [(connection, number)] * (len(packets) - len(left))
        rate = 0.0 if in_order else self._rate("reorder", now_s)
        return self._reordered(left, rate) if rate else left

    def _rate(self, kind: RateFault, now_s: float) -> float:
        rate, until_s = self._rates.get(kind, (0.0, 0.0))
        return rate if now_s < until_s else 0.0

    def _reordered(self, packets: list[bytes], rate: float) -> list[bytes]:
        places = [index + (REORDER_DISTANCE + 0.5 if self._rng.random() < rate else 0) for index in range(len(packets))]
        return [packet for _, packet in sorted(zip(places, packets, strict=True), key=lambda pair: pair[0])]
