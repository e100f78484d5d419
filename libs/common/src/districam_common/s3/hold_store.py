"""Stores holds as objects in the bucket: the api writes them, retention and the api read them."""

from typing import TypeVar

import structlog

from districam_common.contract import wire
from districam_common.contract.names import (
    HOLDS_PREFIX,
    RELEASED_PREFIX,
    hold_events_key,
    hold_key,
    parse_hold_key,
    released_key,
)
from districam_common.errors import Rejected
from districam_common.ledger.holds import (
    Hold,
    HoldEvents,
    Holds,
    ReleasedHold,
    UnreadableHold,
    describe_unreadable_hold,
)
from districam_common.runtime.unreadable import record_unreadable
from districam_common.s3.blobs import Blobs, ObjectNotFound

log = structlog.get_logger()
H = TypeVar("H", bound=Hold)


class HoldStore:
    """Every method may raise `Retriable`. Caches decoded holds, since a hold is never changed, only removed."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._active: dict[str, Hold] = {}
        self._released: dict[str, ReleasedHold] = {}

    async def place(self, hold: Hold) -> None:
        """Writes the hold.

        Raises:
            ObjectExists: its id is in use.
        """
        await self._write(hold_key(hold.id), hold)

    async def release(self, released: ReleasedHold) -> None:
        """Writes the released hold under `released_key`, then removes the hold; idempotent."""
        await self._write(released_key(released.id), released, once=False)
        await self.delete(released.id)

    async def delete(self, hold_id: str) -> None:
        """Removes a hold without a trace."""
        await self._blobs.delete([hold_key(hold_id)])

    async def find(self, hold_id: str) -> Hold | None:
        """The hold, released or not; None if there is none.

        Raises:
            WireError: it exists but cannot be decoded.
        """
        for key, kind in ((hold_key(hold_id), Hold), (released_key(hold_id), ReleasedHold)):
            try:
                return wire.decode_json(kind, await self._blobs.get(key))
            except ObjectNotFound:
                continue
        return None

    async def put_events(self, events: HoldEvents) -> None:
        """Writes the events that explain a hold's window, replacing those written before."""
        await self._write(hold_events_key(events.id), events, once=False)

    async def get_events(self, hold_id: str) -> HoldEvents | None:
        """The events written by `put_events`; None if there are none or they are malformed, which is logged."""
        key = hold_events_key(hold_id)
        try:
            return wire.decode_json(HoldEvents, await self._blobs.get(key))
        except ObjectNotFound:
            return None
        except Rejected as error:
            log.warning("stored events of a hold are malformed", key=key, why=str(error))
            return None

    async def list_active(self) -> Holds:
        """All active holds, including unreadable ones, whose footage must be kept too."""
        unread = await self._refresh(HOLDS_PREFIX, Hold, self._active)
        return Holds(tuple(self._active[key] for key in sorted(self._active)), tuple(unread))

    async def list_released(self) -> list[ReleasedHold]:
        """All readable released holds, by id."""
        await self._refresh(RELEASED_PREFIX, ReleasedHold, self._released)
        return [self._released[key] for key in sorted(self._released)]

    async def _refresh(self, prefix: str, kind: type[H], known: dict[str, H]) -> list[UnreadableHold]:
        """Updates `known` (key → hold) from the objects under `prefix`; returns the unreadable ones."""
        ids: dict[str, str] = {}
        async for listed in self._blobs.list(prefix):
            if hold_id := parse_hold_key(listed.key):
                ids[listed.key] = hold_id
            else:
                record_unreadable("hold", listed.key, "not the key of a hold")
        unread: list[UnreadableHold] = []
        for key in [key for key in ids if key not in known]:
            found = await self._read(key, ids[key], kind)
            if isinstance(found, UnreadableHold):
                unread.append(found)
            elif found is not None:
                known[key] = found
        for key in known.keys() - ids.keys():
            del known[key]
        return unread

    async def _read(self, key: str, hold_id: str, kind: type[H]) -> H | UnreadableHold | None:
        body = b""
        try:
            body = await self._blobs.get(key)
            return wire.decode_json(kind, body)
        except ObjectNotFound:
            log.info("hold removed between listing and reading", key=key)
            return None
        except Rejected as error:
            record_unreadable("hold", key, str(error))
            return describe_unreadable_hold(hold_id, body, str(error))

    async def _write(self, key: str, hold: Hold | HoldEvents, *, once: bool = True) -> None:
        await self._blobs.put_json(key, wire.encode_json(hold), once=once)
