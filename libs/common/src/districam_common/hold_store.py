"""Holds as objects in the bucket: the api writes them, retention and the api read them."""

import hashlib
from typing import TypeVar

import structlog

from districam_common import wire
from districam_common.blobs import Blobs, Missing
from districam_common.errors import Rejected
from districam_common.holds import Hold, HoldEvents, ReleasedHold
from districam_common.names import HOLDS_PREFIX, RELEASED_PREFIX, hold_events_key, hold_key, released_key

log = structlog.get_logger()
H = TypeVar("H", bound=Hold)


class HoldStore:
    """Everything may raise `Retriable`. What was read once is kept: a hold never changes, it only goes."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._known: dict[str, Hold] = {}
        self._released: dict[str, ReleasedHold] = {}

    async def place(self, hold: Hold) -> None:
        """Writes the hold.

        Raises:
            Exists: its id is taken.
        """
        await self._write(hold_key(hold.id), hold)

    async def release(self, released: ReleasedHold) -> None:
        """Keeps what is known of the hold elsewhere, then removes it; may be repeated."""
        await self._write(released_key(released.id), released, once=False)
        await self.withdraw(released.id)

    async def withdraw(self, hold_id: str) -> None:
        """Removes a hold as if it had never been placed."""
        await self._blobs.delete([hold_key(hold_id)])

    async def find(self, hold_id: str) -> Hold | None:
        """The hold, released or not; None if there never was one."""
        for key, kind in ((hold_key(hold_id), Hold), (released_key(hold_id), ReleasedHold)):
            try:
                return wire.parse(kind, await self._blobs.get(key))
            except Missing:
                continue
        return None

    async def explain(self, events: HoldEvents) -> None:
        """Keeps what explains a hold's window, over what was kept of it before."""
        await self._write(hold_events_key(events.id), events, once=False)

    async def explanation(self, hold_id: str) -> HoldEvents | None:
        """What was kept so; None if nothing was, or it cannot be read: the hold itself is not touched by that."""
        key = hold_events_key(hold_id)
        try:
            return wire.parse(HoldEvents, await self._blobs.get(key))
        except Missing:
            return None
        except Rejected as error:
            log.warning("what was kept of a hold's events cannot be read", key=key, why=str(error))
            return None

    async def all(self) -> list[Hold]:
        """Every hold in force, by id.

        Raises:
            Rejected: an object there is no hold: nobody can tell what it is to keep.
        """
        return await self._listed(HOLDS_PREFIX, Hold, self._known)

    async def all_released(self) -> list[ReleasedHold]:
        """Every hold that is over, by id."""
        return await self._listed(RELEASED_PREFIX, ReleasedHold, self._released)

    async def _listed(self, prefix: str, kind: type[H], known: dict[str, H]) -> list[H]:
        keys = [listed.key async for listed in self._blobs.list(prefix)]
        for key in [key for key in keys if key not in known]:
            try:
                known[key] = wire.parse(kind, await self._blobs.get(key))
            except Missing:
                log.info("hold gone while it was read", key=key)
        for key in known.keys() - set(keys):
            del known[key]
        return [known[key] for key in sorted(known)]

    async def _write(self, key: str, hold: Hold | HoldEvents, *, once: bool = True) -> None:
        body = wire.json_bytes(hold)
        digest = hashlib.sha256(body).hexdigest()
        await self._blobs.put(
            key, [body], content_type="application/json", metadata={}, sha256=digest, once=once
        )
