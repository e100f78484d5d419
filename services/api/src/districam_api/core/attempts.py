"""How many wrong keys are answered one by one: so many at a run, then one an interval (GCRA, ITU-T I.371)."""

from collections import OrderedDict
from dataclasses import dataclass

from districam_api.core.addresses import neighbourhood

ADDRESSES_MOST = 10_000
"""Remembered; the one that has been still for longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`run` at once, then one each `interval_us`."""

    run: int
    interval_us: int


EACH = Pace(run=10, interval_us=6_000_000)
ALL = Pace(run=100, interval_us=600_000)

LOGINS = Pace(run=60, interval_us=10_000_000)
"""A shift may begin with one key. In the 12 hours of a login that is 4,400 to remember of one key, 36 bytes each."""


class Attempts:
    """Counts failures of each address and of all together. State: when each will have been forgiven everything."""

    def __init__(self, each: Pace = EACH, everyone: Pace = ALL) -> None:
        self._each = each
        self._everyone = everyone
        self._all_us = 0
        self._by_address: OrderedDict[str, int] = OrderedDict()

    def failed(self, address: str, now_us: int) -> int:
        """Notes a failure. Gives how long to wait, in µs, if there have been too many; 0: not yet."""
        who = neighbourhood(address)
        one_us, wait_us = _spent(self._by_address.get(who, 0), now_us, self._each)
        if wait_us:
            return wait_us
        self._all_us, wait_us = _spent(self._all_us, now_us, self._everyone)
        if wait_us:
            return wait_us
        self._by_address[who] = one_us
        self._by_address.move_to_end(who)
        if len(self._by_address) > ADDRESSES_MOST:
            self._by_address.popitem(last=False)
        return 0


class Logins:
    """Counts logins of each key: each that is ended early has to be remembered by every replica."""

    def __init__(self, each: Pace = LOGINS) -> None:
        self._each = each
        self._by_key: dict[str, int] = {}

    def made(self, key_id: str, now_us: int) -> int:
        """Notes a login by that key, which is one of ours. Gives how long to wait, in µs, if there have been too many."""
        self._by_key[key_id], wait_us = _spent(self._by_key.get(key_id, 0), now_us, self._each)
        return wait_us


def _spent(free_us: int, now_us: int, pace: Pace) -> tuple[int, int]:
    """When all will be forgiven with one more, and 0; or as before, and how long to wait for one more."""
    next_us = max(free_us, now_us) + pace.interval_us
    over_us = next_us - now_us - pace.run * pace.interval_us
    return (free_us, over_us) if over_us > 0 else (next_us, 0)
