"""The last events of every camera, asked for again and again: parsed only where they are others than before."""

import hashlib
from collections.abc import Callable, Sequence

from districam_common.contract.events import Connected, Lost, Refused
from districam_common.ledger.causes import LoggedEvent


class RecentEventsCache:
    """What was made of each camera's last events. As large as there are cameras: it never holds fewer than are asked for."""

    def __init__(self, parse: Callable[[Sequence[bytes]], Sequence[LoggedEvent]]) -> None:
        self._parse = parse
        self._cache: dict[str, tuple[bytes, list[LoggedEvent]]] = {}

    def get(self, camera_id: str, members: Sequence[bytes], now_us: int) -> list[LoggedEvent]:
        """`deciding` of these members, which are not kept themselves."""
        digest = hashlib.blake2b(b"\n".join(members), digest_size=16).digest()
        known = self._cache.get(camera_id)
        if known is None or known[0] != digest:
            known = self._cache[camera_id] = (digest, events_for_current_status(self._parse(members), now_us))
        return known[1]


def events_for_current_status(events: Sequence[LoggedEvent], now_us: int) -> list[LoggedEvent]:
    """Those that may say how a stream is doing at `now_us` or later: no refusal that another one has followed by then.

    A refusal changes nothing but what is in force, and a camera that is away has one every half a minute. To keep all of
    a district's is to have them gone over by the garbage collector, for a third of a second.
    """
    refused = [one.status_change.effective_us for one in events if one.status_change and isinstance(one.event, Refused)]
    last_us = max((at_us for at_us in refused if at_us <= now_us), default=0)
    return [
        one
        for one in events
        if isinstance(one.event, Connected | Lost)
        or (isinstance(one.event, Refused) and one.status_change and one.status_change.effective_us >= last_us)
    ]
