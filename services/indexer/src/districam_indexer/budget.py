"""The budget `storage.max_bytes`: what of each camera has to go so that all segments fit it."""

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from districam_common.contract.names import DAY_US
from districam_common.ledger.intervals import Interval
from districam_indexer import metrics
from districam_indexer.core.retention import Freed, Oldest, Stock, freeing
from districam_indexer.usage import Usage

log = structlog.get_logger()

_READ_AGAIN_US = DAY_US
"""Footage older than a camera's oldest may come in, out of a log that was long behind."""


class Budget:
    """Every replica weighs all cameras, and comes to the same."""

    def __init__(self, usage: Usage, max_bytes: int, lock_us: int = 0) -> None:
        self._usage = usage
        self._max_bytes, self._lock_us = max_bytes, lock_us
        self._oldest: dict[str, tuple[list[Interval], int, int]] = {}
        self._is_over = False

    async def edges(
        self, days: Mapping[str, int | None], held: Mapping[str, list[Interval]], now_us: int
    ) -> Mapping[str, int]:
        """Camera → up to where it has to let go of its footage; `days`: how long each is to be kept, of those with a record."""
        totals = await self._usage.totals()
        cameras = {one: Oldest(days.get(one), self._known(one, held.get(one, []), now_us)) for one in totals}
        freed = await self._freed(sum(totals.values()) - self._max_bytes, cameras, held, now_us)
        for camera_id, oldest_us in freed.oldest.items():
            self._oldest[camera_id] = (held.get(camera_id, []), oldest_us, now_us)
        self._forget(totals)
        metrics.STORED.set(sum(totals.values()))
        metrics.OVER_BUDGET.set(freed.over_bytes)
        metrics.BUDGET.set(self._max_bytes)
        self._tell(freed.over_bytes)
        return freed.edges

    async def _freed(
        self,
        excess_bytes: int,
        cameras: Mapping[str, Oldest],
        held: Mapping[str, list[Interval]],
        now_us: int,
    ) -> Freed:
        asking = freeing(excess_bytes, cameras, now_us, self._lock_us)
        try:
            wanted = next(asking)
            while True:
                if wanted is None:
                    await asyncio.sleep(0)
                    wanted = asking.send(None)
                else:
                    stock = Stock(await self._usage.bytes_by_hour(wanted), held.get(wanted, []))
                    wanted = asking.send(stock)
        except StopIteration as end:
            return end.value

    def _known(self, camera_id: str, held: list[Interval], now_us: int) -> int:
        """The camera's oldest hour that may go, as it was last seen: others may be gone since, none has come before it."""
        held_then, oldest_us, read_us = self._oldest.get(camera_id, ([], 0, 0))
        return oldest_us if held_then == held and now_us - read_us < _READ_AGAIN_US else 0

    def _forget(self, cameras: Iterable[str]) -> None:
        for camera_id in self._oldest.keys() - set(cameras):
            del self._oldest[camera_id]

    def _tell(self, over_bytes: int) -> None:
        if self._is_over == bool(over_bytes):
            return
        self._is_over = bool(over_bytes)
        if self._is_over:
            why = "what is left is held, locked, or younger than a day; recording goes on"
            log.error("storage over its budget", over_bytes=over_bytes, why=why)
        else:
            log.info("storage within its budget again")
