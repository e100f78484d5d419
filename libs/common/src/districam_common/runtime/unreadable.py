"""What was read and cannot be understood: passed over, counted each time, logged once. It must not cost what it stands beside."""

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
    """Says so. `what`: which kind of value, for the metric; `where`: enough to find it again, no secret."""
    UNREADABLE_VALUES.labels(what).inc()
    _log_once(what, where[:300], why[:500])


@lru_cache(maxsize=1 << 10)
def _log_once(what: str, where: str, why: str) -> None:
    """Once a process; of more than so many different ones again from time to time."""
    log.warning("passed over, cannot be read", what=what, where=where, why=why)
