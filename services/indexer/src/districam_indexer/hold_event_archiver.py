"""Archives the events that explain a hold's window, once it has settled (it may be after the hold's creation).

The topic keeps events for 35 days, and a rebuild reads them from it, so the events of a held window are
stored in the bucket with the hold. The camera's replica writes them, and again when there are more; none is
ever removed.
"""

from collections.abc import Mapping, Sequence

import structlog

from districam_common.contract import names
from districam_common.index.index_reader import Meta
from districam_common.ledger.holds import Hold, HoldEvents
from districam_common.s3.hold_store import HoldStore
from districam_indexer.core.hold_rules import events_to_archive, is_settled
from districam_indexer.dependencies import Dependencies

log = structlog.get_logger()

_MAX_HOLDS_PER_ROUND = 20
"""Maximum holds whose events are read in one round."""
_RECHECK_INTERVAL_US = 3_600_000_000
"""Interval between reads of a window's events: an ingest that was disconnected may report some late."""


class HoldEventArchiver:
    """Not for concurrent use. Methods raise `Retriable`; what was not written is written in a later round."""

    def __init__(self, deps: Dependencies, store: HoldStore) -> None:
        self._deps = deps
        self._store = store
        self._archived: dict[str, HoldEvents | None] = {}
        self._checked_us: dict[str, int] = {}

    async def archive(self, holds: Sequence[Hold]) -> None:
        """Runs one round for the holds of this replica's cameras."""
        for cache in (self._archived, self._checked_us):
            for hold_id in cache.keys() - {hold.id for hold in holds}:
                del cache[hold_id]
        due = [hold for hold in holds if self._is_due(hold)]
        meta = await self._deps.index.meta() if due else None
        if meta is None or not meta.is_ready:
            return
        watermarks_us = await self._deps.index.watermarks_us()
        settled = [hold for hold in due if self._is_settled(hold, meta, watermarks_us)]
        settled.sort(key=lambda hold: self._checked_us.get(hold.id, 0))
        for hold in settled[:_MAX_HOLDS_PER_ROUND]:
            if await self._archive_hold(hold, meta):
                self._checked_us[hold.id] = self._deps.runtime.clock.monotonic_us()

    def _is_due(self, hold: Hold) -> bool:
        checked_us = self._checked_us.get(hold.id)
        return checked_us is None or self._deps.runtime.clock.monotonic_us() - checked_us >= _RECHECK_INTERVAL_US

    def _is_settled(self, hold: Hold, meta: Meta, watermarks_us: Mapping[int, int]) -> bool:
        watermark_us = watermarks_us.get(names.partition_of(hold.camera_id, meta.partitions), 0)
        return is_settled(hold, watermark_us, self._settle_us)

    @property
    def _settle_us(self) -> int:
        return round(self._deps.settings.indexer.settle_s * 1e6)

    async def _archive_hold(self, hold: Hold, meta: Meta) -> bool:
        """Archives all indexed events of a hold. False if the index changed or the window is not settled."""
        inputs = await self._deps.index.ledger_inputs(hold.camera_id, meta.partitions, hold.from_us, hold.from_us + 1)
        is_same = inputs.meta is not None and inputs.meta.is_ready and inputs.meta.build == meta.build
        if not is_same or not is_settled(hold, inputs.log_us, self._settle_us):
            return False
        if hold.id not in self._archived:
            self._archived[hold.id] = await self._store.get_events(hold.id)
        archived = events_to_archive(hold, self._archived[hold.id], inputs.events, inputs.truncations, inputs.log_us)
        if archived is not None:
            await self._store.put_events(archived)
            self._archived[hold.id] = archived
            log.info(
                "events of a hold archived",
                hold_id=hold.id,
                events=len(archived.events),
                truncations=len(archived.fell),
            )
        return True
