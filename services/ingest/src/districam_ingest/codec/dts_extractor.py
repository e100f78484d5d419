"""Derives DTS from PTS: RTP timestamps are presentation times (RFC 6184 section 5.1)."""

import heapq


class DtsExtractor:
    """Computes the encoder's exact DTS without delay, for a stream that reorders at most `depth` pictures.

    The n-th DTS is the n-th smallest PTS, shifted by `depth` pictures of `interval` ticks.
    """

    def __init__(self, depth: int, interval: int) -> None:
        self._depth, self._interval = depth, interval
        self._heap: list[int] = []
        self._first = 0

    def feed(self, pts: int) -> int:
        """The DTS of the next picture. If it does not increase, `depth` is too small or the PTS jumped."""
        count = len(self._heap)
        if count >= self._depth:
            return heapq.heappushpop(self._heap, pts)
        if count == 0:
            self._first = pts
        heapq.heappush(self._heap, pts)
        return min(pts, self._first - (self._depth - count) * self._interval)
