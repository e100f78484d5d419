"""Computes the retain-until date (S3 Object Lock) of a segment."""

MIN_LOCK_US = 60_000_000
"""Shortest lock that is requested: the store refuses a retain-until date in the past by its own clock."""


def retain_until_us(append_us: int, now_us: int, lock_us: int) -> int | None:
    """End of the lock of a segment first appended to at `append_us`; None if it is within MIN_LOCK_US of now.

    Counted from the earlier of the broker's and this host's clock: a lock can never be shortened, so a clock
    that is years ahead must not set it alone. A segment stored late, after an outage, gets the same end as
    one stored in time.
    """
    retain_us = min(append_us, now_us) + lock_us
    return retain_us if lock_us and retain_us > now_us + MIN_LOCK_US else None
