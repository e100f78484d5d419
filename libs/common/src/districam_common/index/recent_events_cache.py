"""Caches the decoded last events of every camera; decodes them again only if they have changed."""

import hashlib
from collections.abc import Callable, Sequence

from districam_common.contract.events import Connected, Lost, Refused
from districam_common.ledger.causes import LoggedEvent


class RecentEventsCache:
    """The last events of each camera. Unbounded: one entry per camera, since all cameras are queried in turn."""

    def __init__(self, parse: Callable[[Sequence[bytes]], Sequence[LoggedEvent]]) -> None:
        self._parse = parse
        self._cache: dict[str, tuple[bytes, list[LoggedEvent]]] = {}

    def get(self, camera_id: str, members: Sequence[bytes], now_us: int) -> list[LoggedEvent]:
        """`events_for_current_status` of these members, which are not kept themselves (only their digest)."""
        digest = hashlib.blake2b(b"\n".join(members), digest_size=16).digest()
        known = self._cache.get(camera_id)
        if known is None or known[0] != digest:
            known = self._cache[camera_id] = (digest, events_for_current_status(self._parse(members), now_us))
        return known[1]


def events_for_current_status(events: Sequence[LoggedEvent], now_us: int) -> list[LoggedEvent]:
    """The events that decide a stream's status at `now_us` or later: without `refused` events followed by another one.

    Only the last `refused` matters, and an unreachable camera has one every half minute. Keeping those of all cameras
    would cost the garbage collector a third of a second.
    """
    refused = [one.status_change.effective_us for one in events if one.status_change and isinstance(one.event, Refused)]
    last_us = max((at_us for at_us in refused if at_us <= now_us), default=0)
    return [
        one
        for one in events
        if isinstance(one.event, Connected | Lost)
        or (isinstance(one.event, Refused) and one.status_change and one.status_change.effective_us >= last_us)
    ]
