"""Keeps what explains a hold's window, once it has settled: a hold is written when it is placed, and its window may lie ahead.

The topic forgets events after 35 days and the index is built anew from it, so what is told of a held window goes into the
bucket beside the hold. It is written by whichever replica has the camera, again if more becomes known; it only grows.
"""

from collections.abc import Mapping, Sequence

import structlog

from districam_common.contract import names
from districam_common.index.index_reader import Meta
from districam_common.ledger.holds import Hold, HoldEvents
from districam_common.s3.hold_store import HoldStore
from districam_indexer.core.holding import is_settled, to_keep
from districam_indexer.doors import Doors

log = structlog.get_logger()

_AT_ONCE = 20
"""Holds whose events are read in one round."""
_LOOK_AGAIN_US = 3_600_000_000
"""An ingest that was cut off may tell late what happened inside the window."""


class Explaining:
    """For one loop. Raises `Retriable`: what is not written now is written in a later round."""

    def __init__(self, doors: Doors, store: HoldStore) -> None:
        self._doors = doors
        self._store = store
        self._kept: dict[str, HoldEvents | None] = {}
        self._looked_us: dict[str, int] = {}

    async def look(self, ours: Sequence[Hold]) -> None:
        """One round, for the holds of this replica's cameras."""
        for known in (self._kept, self._looked_us):
            for hold_id in known.keys() - {hold.id for hold in ours}:
                del known[hold_id]
        due = [hold for hold in ours if self._is_due(hold)]
        meta = await self._doors.index.meta() if due else None
        if meta is None or not meta.is_ready:
            return
        logged = await self._doors.index.logged()
        settled = [hold for hold in due if self._is_settled(hold, meta, logged)]
        settled.sort(key=lambda hold: self._looked_us.get(hold.id, 0))
        for hold in settled[:_AT_ONCE]:
            if await self._keep(hold, meta):
                self._looked_us[hold.id] = self._doors.runtime.clock.monotonic_us()

    def _is_due(self, hold: Hold) -> bool:
        looked_us = self._looked_us.get(hold.id)
        return looked_us is None or self._doors.runtime.clock.monotonic_us() - looked_us >= _LOOK_AGAIN_US

    def _is_settled(self, hold: Hold, meta: Meta, logged: Mapping[int, int]) -> bool:
        log_us = logged.get(names.partition_of(hold.camera_id, meta.partitions), 0)
        return is_settled(hold, log_us, self._settle_us)

    @property
    def _settle_us(self) -> int:
        return round(self._doors.settings.indexer.settle_s * 1e6)

    async def _keep(self, hold: Hold, meta: Meta) -> bool:
        """Whether all that is known is kept; not if the index was changed while it was read."""
        known = await self._doors.index.known(hold.camera_id, meta.partitions, hold.from_us, hold.from_us + 1)
        is_same = known.meta is not None and known.meta.is_ready and known.meta.build == meta.build
        if not is_same or not is_settled(hold, known.log_us, self._settle_us):
            return False
        if hold.id not in self._kept:
            self._kept[hold.id] = await self._store.explanation(hold.id)
        kept = to_keep(hold, self._kept[hold.id], known.events, known.fell, known.log_us)
        if kept is not None:
            await self._store.explain(kept)
            self._kept[hold.id] = kept
            log.info("events of a hold kept", hold=hold.id, events=len(kept.events), fell=len(kept.fell))
        return True
