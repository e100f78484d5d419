"""The indexer's Prometheus metrics (docs/design/contract.md, Health and metrics)."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from districam_common.runtime.clock import SystemClock
from districam_common.runtime.metrics import LATENCY_BUCKETS_S

CAPTURED_TO_INDEXED = Histogram(
    "districam_captured_to_indexed_seconds",
    "From a segment's last picture until it can be found",
    buckets=LATENCY_BUCKETS_S,
)
DEADLETTERS = Counter("districam_indexer_deadletters_total", "Records that can never be indexed")
EXPIRED_REJECTED = Counter(
    "districam_indexer_expired_refused_total",
    "expired events rejected: too young, or on a topic that no longer carries them",
)
DELETED_VERSIONS = Counter("districam_retention_deleted_total", "Versions of objects deleted by retention")
LOCKED_VERSIONS = Counter(
    "districam_retention_locked_total", "Versions that the store refused to delete, counted at each attempt"
)
STORED_BYTES = Gauge("districam_stored_bytes", "Stored segments as counted in the index; only with a budget")
BUDGET_BYTES = Gauge("districam_storage_budget_bytes", "The budget storage.max_bytes; only with a budget")
OVER_BUDGET_BYTES = Gauge(
    "districam_storage_over_budget_bytes", "Bytes over the budget that cannot be deleted: held, locked, or too young"
)
HOLDS = Gauge("districam_holds", "Active holds of this replica's cameras, by state", ["state"])
PROTECTION = Gauge(
    "districam_hold_protection",
    "1 for the store's probed behaviour with legal holds: enforced, advisory (it deletes held objects), unknown",
    ["state"],
)
RECORDED_RATIO = Gauge(
    "districam_recorded_ratio",
    "Recorded share of the expected and settled time; absent if there is no such time",
    ["camera", "window"],
)
GAP_SECONDS = Gauge(
    "districam_gap_seconds", "Expected and settled time that is not recorded", ["camera", "cause", "window"]
)
LAST_SEGMENT_END = Gauge("districam_last_segment_end_timestamp_seconds", "End of the newest stored segment", ["camera"])
ROUND_SECONDS = Gauge(
    "districam_indexer_round_seconds", "Duration of the last complete round over this replica's cameras", ["loop"]
)


@contextmanager
def measure_round(loop: Literal["gauges", "retention", "holds"]) -> Generator[None]:
    """Measures the duration of a round, unless it raises."""
    clock = SystemClock()
    began_us = clock.monotonic_us()
    yield
    ROUND_SECONDS.labels(loop).set((clock.monotonic_us() - began_us) / 1e6)
