"""Interarrival jitter (RFC 3550 section 6.4.1) of pictures in decode order, so that B-frames do not count as jitter."""

from typing import Final

from districam_common.contract import ticks

GAIN: Final = 16
"""J += (|D| − J) / 16 (RFC 3550 section 6.4.1)."""


class JitterEstimator:
    """Estimates one epoch's jitter, at the resolution of the reader's 90 kHz ticks."""

    def __init__(self) -> None:
        self._last_transit_us: int | None = None
        self._jitter_us = 0.0

    @property
    def jitter_us(self) -> int:
        """Smoothed mean difference of transit time between consecutive pictures."""
        return round(self._jitter_us)

    def feed(self, arrival_us: int, dts: int) -> None:
        """Takes a picture's arrival (monotonic) and its decode time in 90 kHz ticks."""
        transit_us = arrival_us - ticks.to_us(dts)
        if self._last_transit_us is not None:
            self._jitter_us += (abs(transit_us - self._last_transit_us) - self._jitter_us) / GAIN
        self._last_transit_us = transit_us
