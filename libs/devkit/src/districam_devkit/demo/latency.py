"""Measures the time from sending a picture until the API lists the segment that holds it."""

import asyncio
import time
from collections.abc import Sequence

import httpx

from districam_devkit.api_client import ApiClient

POLL_S = 0.1
LOOKBACK_US = 120_000_000


def now_us() -> int:
    return time.time_ns() // 1000


class ListingTimes:
    """Records when each object's key was first listed, µs UTC; polls every 100 ms."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self.listed_us: dict[str, int] = {}

    async def run(self, camera_ids: Sequence[str]) -> None:
        """Polls until cancelled; an unreachable API is polled again."""
        while True:
            began = time.monotonic()
            for camera_id in camera_ids:
                await self._poll(camera_id)
            await asyncio.sleep(max(0.0, POLL_S - (time.monotonic() - began)))

    async def _poll(self, camera_id: str) -> None:
        try:
            listed = await self._api.segments(camera_id, now_us() - LOOKBACK_US, now_us())
        except httpx.HTTPError:
            return
        for segment in listed:
            self.listed_us.setdefault(segment.key, now_us())


def percentile(values: Sequence[float], share: float) -> float | None:
    """Returns the smallest value that at least `share` of all values do not exceed; None if there are no values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
