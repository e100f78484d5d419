"""Decode times out of presentation times: RTP carries none (RFC 6184 section 5.1)."""

import heapq


class DtsExtractor:
    """The encoder's DTS, exactly and without delay, for a stream that reorders at most `depth` pictures.

    The n-th decode time is the n-th smallest presentation time, shifted by `depth` pictures of `interval` ticks.
    """

    def __init__(self, depth: int, interval: int) -> None:
        self._depth, self._interval = depth, interval
        self._heap: list[int] = []
        self._first = 0

    def feed(self, pts: int) -> int:
        """The decode time of the next picture. One that does not grow means: the depth is too small, or time stepped."""
        count = len(self._heap)
        if count >= self._depth:
            return heapq.heappushpop(self._heap, pts)
        if count == 0:
            self._first = pts
        heapq.heappush(self._heap, pts)
        return min(pts, self._first - (self._depth - count) * self._interval)
