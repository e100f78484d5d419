"""Rate limits of wrong keys and of logins: a burst, then one per interval (GCRA, ITU-T I.371)."""

from collections import OrderedDict
from dataclasses import dataclass

from districam_api.core.addresses import client_network

MAX_ADDRESSES = 10_000
"""Networks remembered; the one without a failure for longest is dropped first."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`burst` at once, then one per `interval_us`."""

    burst: int
    interval_us: int


PER_ADDRESS_LIMIT = RateLimit(burst=10, interval_us=6_000_000)
GLOBAL_LIMIT = RateLimit(burst=100, interval_us=600_000)

LOGIN_LIMIT = RateLimit(burst=60, interval_us=10_000_000)
"""A whole shift may log in with one key. In a login's 12 hours: 4,400 to remember per key, 36 bytes each."""


class FailureLimiter:
    """Limits failures per network and in total. State: GCRA's theoretical arrival times (TAT)."""

    def __init__(self, per_address: RateLimit = PER_ADDRESS_LIMIT, overall: RateLimit = GLOBAL_LIMIT) -> None:
        self._per_address = per_address
        self._overall = overall
        self._overall_tat_us = 0
        self._tat_by_network: OrderedDict[str, int] = OrderedDict()

    def record_failure(self, address: str, now_us: int) -> int:
        """Counts a failure. Returns how long to wait, in µs, if there have been too many; else 0."""
        network = client_network(address)
        tat_us, wait_us = _apply_gcra(self._tat_by_network.get(network, 0), now_us, self._per_address)
        if wait_us:
            return wait_us
        self._overall_tat_us, wait_us = _apply_gcra(self._overall_tat_us, now_us, self._overall)
        if wait_us:
            return wait_us
        self._tat_by_network[network] = tat_us
        self._tat_by_network.move_to_end(network)
        if len(self._tat_by_network) > MAX_ADDRESSES:
            self._tat_by_network.popitem(last=False)
        return 0


class LoginLimiter:
    """Limits logins per key: each one that is ended early must be remembered by every replica."""

    def __init__(self, per_key: RateLimit = LOGIN_LIMIT) -> None:
        self._per_key = per_key
        self._tat_by_key: dict[str, int] = {}

    def record_login(self, key_id: str, now_us: int) -> int:
        """Counts a login with a valid key. Returns how long to wait, in µs, if there are too many; else 0."""
        self._tat_by_key[key_id], wait_us = _apply_gcra(self._tat_by_key.get(key_id, 0), now_us, self._per_key)
        return wait_us


def _apply_gcra(tat_us: int, now_us: int, limit: RateLimit) -> tuple[int, int]:
    """The TAT with one more event, and 0; or the old TAT, and how long to wait before one more."""
    next_us = max(tat_us, now_us) + limit.interval_us
    over_us = next_us - now_us - limit.burst * limit.interval_us
    return (tat_us, over_us) if over_us > 0 else (next_us, 0)
