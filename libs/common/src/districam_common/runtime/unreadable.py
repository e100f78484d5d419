"""Reports malformed values of the index and the bucket, which are skipped: each one is counted, and logged once."""

from functools import lru_cache

import structlog
from prometheus_client import Counter

log = structlog.get_logger()

UNREADABLE_VALUES = Counter(
    "districam_unreadable_total",
    "Values of the index or the bucket that were read and could not be understood, each time they were passed over",
    ["what"],
)


def record_unreadable(what: str, where: str, why: str) -> None:
    """Counts and logs a value that was skipped.

    Args:
        what: the kind of value, the metric's label.
        where: how to find it; no secret.
        why: what is wrong with it.
    """
    UNREADABLE_VALUES.labels(what).inc()
    _log_once(what, where[:300], why[:500])


@lru_cache(maxsize=1 << 10)
def _log_once(what: str, where: str, why: str) -> None:
    """Once per process and value, as far as the cache remembers them."""
    log.warning("malformed value skipped", what=what, where=where, why=why)
