"""Until when the store is asked to keep a segment from everybody."""

MIN_LOCK_US = 60_000_000
"""A lock that is over so soon is not asked for: by the store's clock it might be over already, and it refuses such ones."""


def retain_until_us(append_us: int, now_us: int, lock_us: int) -> int | None:
    """The end of the lock of a segment whose first record was appended at `append_us`; None: it would be over before long.

    Counted from the earlier of the broker's clock and this host's: a lock can never be shortened, so a clock that is years
    ahead must not set it alone. Of what is stored late, after an outage, as much is left as there is of what was stored in time.
    """
    retain_us = min(append_us, now_us) + lock_us
    return retain_us if lock_us and retain_us > now_us + MIN_LOCK_US else None
