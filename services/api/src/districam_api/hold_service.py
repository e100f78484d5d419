"""Places and releases holds. The hold is written before expiry is checked: no accepted hold loses its footage."""

from dataclasses import dataclass

from districam_api.footage import FootageReader, NotFound, WindowRecords
from districam_common.contract import wire
from districam_common.errors import DistricamError, Rejected
from districam_common.index.hold_cache import HoldCache
from districam_common.index.index_reader import IndexReader
from districam_common.ledger.holds import (
    UNKNOWN_HOLD_STATE,
    Hold,
    HoldState,
    ReleasedHold,
    encode_events,
    encode_truncations,
    explaining_events,
)
from districam_common.ledger.intervals import Interval, intersects
from districam_common.runtime.unreadable import record_unreadable
from districam_common.s3.blobs import Blobs
from districam_common.s3.hold_store import HoldStore


class NoSuchHold(NotFound):
    """No hold has that id, or it is released."""


class HoldUnreadable(Rejected):
    """The hold exists and protects its footage, but this version cannot read it."""


class FootageExpired(Rejected):
    """Retention has deleted part of the window; `expired` has the intervals."""

    def __init__(self, message: str, expired: list[Interval]) -> None:
        super().__init__(message)
        self.expired = expired


@dataclass(frozen=True, slots=True)
class HoldWithState:
    """A hold, and how far it is applied."""

    hold: Hold
    state: HoldState


@dataclass(frozen=True, slots=True)
class HoldList:
    """Active holds; `unread`: ids of active holds that this version cannot read."""

    holds: list[HoldWithState]
    unread: list[str]


class HoldService:
    """Holds in the bucket, cached in Redis. Every method may raise `Retriable`."""

    def __init__(self, blobs: Blobs, index: IndexReader, cache: HoldCache) -> None:
        self._store = HoldStore(blobs)
        self._index, self._cache = index, cache

    async def watermark_us(self) -> int:
        """The recorders' newest watermark (broker clock): a lower bound of the current time. 0 if unknown."""
        return max((await self._index.watermarks_us()).values(), default=0)

    async def place(self, hold: Hold, footage: FootageReader) -> HoldWithState:
        """Writes the hold, then reads what has expired.

        Retention announces `expired`, reads the holds again, then deletes: in any order, one of the two sees the other.

        Raises:
            FootageExpired: part of the window has expired; the hold is removed again.
        """
        await self._store.place(hold)
        try:
            expired = await footage.expired(hold.camera_id)
        except DistricamError:
            await self._store.delete(hold.id)
            raise
        if intersects(expired, hold.from_us, hold.to_us):
            await self._store.delete(hold.id)
            expired_in_window = [one for one in expired if intersects([one], hold.from_us, hold.to_us)]
            raise FootageExpired(
                "retention has deleted part of this footage; place a hold on the rest", expired_in_window
            )
        await self._cache.put(hold)
        return HoldWithState(hold, UNKNOWN_HOLD_STATE)

    async def release(self, hold_id: str, *, by: str, name: str, now_us: int, reason: str) -> None:
        """Ends the hold; its record is kept.

        Raises:
            NoSuchHold: no active hold has that id.
            HoldUnreadable: this version cannot read it, so its record could not be kept.
        """
        hold = await self._found(hold_id)
        if hold is None or isinstance(hold, ReleasedHold):
            raise NoSuchHold(f"there is no active hold {hold_id[:64]!r}")
        fields = {name: getattr(hold, name) for name in Hold.__dataclass_fields__}
        now_us = max(now_us, await self.watermark_us())
        released = ReleasedHold(
            **fields, released_by=by, released_by_name=name, released_us=now_us, release_reason=reason
        )
        await self._store.release(released)
        await self._cache.delete([hold_id])

    async def list_active(self) -> HoldList:
        """Active holds by time of placing, and the ids of those that this version cannot read."""
        states, cached = await self._index.hold_states(), await self._index.holds()
        holds: list[Hold] = []
        for hold_id, body in cached.items():
            try:
                holds.append(wire.decode_json(Hold, body))
            except wire.WireError as error:
                record_unreadable("hold", hold_id, str(error))
        holds.sort(key=lambda hold: (hold.placed_us, hold.id))
        unread = sorted(cached.keys() - {hold.id for hold in holds})
        return HoldList([HoldWithState(hold, states.get(hold.id, UNKNOWN_HOLD_STATE)) for hold in holds], unread)

    async def _found(self, hold_id: str) -> Hold | None:
        try:
            return await self._store.find(hold_id)
        except wire.WireError as error:
            record_unreadable("hold", hold_id, str(error))
            raise HoldUnreadable(
                f"hold {hold_id} is stored and protects its footage, but this version cannot read it: {error}"
            ) from error

    async def get(self, hold_id: str) -> HoldWithState:
        """A hold, active or released.

        Raises:
            NoSuchHold: none has that id.
            HoldUnreadable: this version cannot read it.
        """
        hold = await self._found(hold_id)
        if hold is None:
            raise NoSuchHold(f"there is no hold {hold_id[:64]!r}")
        return HoldWithState(hold, (await self._index.hold_states()).get(hold_id, UNKNOWN_HOLD_STATE))


def explanation_fields(hold: Hold, records: WindowRecords) -> dict[str, tuple[str, ...]]:
    """The events kept with the hold because they explain its window."""
    inputs, window = records.inputs, (hold.from_us, hold.to_us)
    return {
        "events": encode_events(explaining_events(inputs.events, *window)),
        "fell": encode_truncations(inputs.truncations, *window),
    }
