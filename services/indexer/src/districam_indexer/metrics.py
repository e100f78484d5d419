"""What the indexer measures (docs/design/contract.md, Health and metrics)."""

from prometheus_client import Counter, Gauge, Histogram

from districam_common.metrics import LATENCY_BUCKETS_S

captured_to_indexed = Histogram(
    "districam_captured_to_indexed_seconds",
    "From a segment's last picture until it can be found",
    buckets=LATENCY_BUCKETS_S,
)
deadletters = Counter("districam_indexer_deadletters_total", "Records that can never be indexed")
recorded_ratio = Gauge(
    "districam_recorded_ratio",
    "Recorded share of the expected and settled time; absent where there is none",
    ["camera", "window"],
)
gap_seconds = Gauge(
    "districam_gap_seconds", "Expected, settled and not recorded", ["camera", "cause", "window"]
)
last_segment_end = Gauge(
    "districam_last_segment_end_timestamp_seconds", "End of the newest stored segment", ["camera"]
)
