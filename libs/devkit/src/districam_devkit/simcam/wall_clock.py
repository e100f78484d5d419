"""The camera's wall clock as its sender reports show it. Pure."""


class WallClock:
    """Correct at first. Times are seconds since the camera's start.

    Args:
        start_us: µs UTC at the start.
    """

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._off_s = 0.0
        self._drifts = (0.0, 0.0, 0.0)  # rate, start, end

    def read_us(self, at_s: float) -> int:
        """Returns what the clock shows, µs UTC."""
        return self._start_us + round((at_s + self._off_s + self._drifted_s(at_s)) * 1_000_000)

    def step(self, by_s: float) -> None:
        self._off_s += by_s

    def drift(self, rate: float, from_s: float, until_s: float) -> None:
        """Runs fast by `rate` between the two times; the offset of an earlier drift stays."""
        self._off_s += self._drifted_s(from_s)
        self._drifts = (rate, from_s, until_s)

    def _drifted_s(self, at_s: float) -> float:
        rate, from_s, until_s = self._drifts
        return rate * max(0.0, min(at_s, until_s) - from_s)
