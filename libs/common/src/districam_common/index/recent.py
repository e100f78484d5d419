"""The last events of every camera, asked for again and again: parsed only where they are others than before."""

import hashlib
from collections.abc import Callable, Sequence

from districam_common.contract.events import Connected, Lost, Refused
from districam_common.ledger.causes import Told


class Recent:
    """What was made of each camera's last events. As large as there are cameras: it never holds fewer than are asked for."""

    def __init__(self, parse: Callable[[Sequence[bytes]], Sequence[Told]]) -> None:
        self._parse = parse
        self._known: dict[str, tuple[bytes, list[Told]]] = {}

    def of(self, camera_id: str, members: Sequence[bytes], now_us: int) -> list[Told]:
        """`deciding` of these members, which are not kept themselves."""
        digest = hashlib.blake2b(b"\n".join(members), digest_size=16).digest()
        known = self._known.get(camera_id)
        if known is None or known[0] != digest:
            known = self._known[camera_id] = (digest, deciding(self._parse(members), now_us))
        return known[1]


def deciding(told: Sequence[Told], now_us: int) -> list[Told]:
    """Those that may say how a stream is doing at `now_us` or later: no refusal that another one has followed by then.

    A refusal changes nothing but what is in force, and a camera that is away has one every half a minute. To keep all of
    a district's is to have them gone over by the garbage collector, for a third of a second.
    """
    refused = [one.word.effect_us for one in told if one.word and isinstance(one.event, Refused)]
    last_us = max((at_us for at_us in refused if at_us <= now_us), default=0)
    return [
        one
        for one in told
        if isinstance(one.event, Connected | Lost)
        or (isinstance(one.event, Refused) and one.word and one.word.effect_us >= last_us)
    ]
