"""The recorder's Prometheus metrics."""

from prometheus_client import Counter, Gauge, Histogram

from districam_common.runtime.metrics import LATENCY_BUCKETS_S

SEGMENTS = Counter(
    "districam_recorder_segments_total", "Segments stored and announced, by what closed them", ["ended_by"]
)
PUT_SECONDS = Histogram("districam_recorder_put_seconds", "Time of one successful put of an object")
PUT_ERRORS = Counter("districam_recorder_put_errors_total", "Puts that failed and were repeated", ["cause"])
OPEN_BYTES = Gauge("districam_recorder_open_bytes", "Bytes of segments in memory: open, or not yet announced")
DUPLICATES = Counter("districam_recorder_repeats_total", "Fragments dropped because they had come before")
DEADLETTERS = Counter("districam_recorder_deadletters_total", "Records that can never be stored, and segments of them")
CONFLICTS = Counter(
    "districam_recorder_conflicts_total",
    "Segments under whose key other bytes are stored, and fragments in whose place another was taken",
    ["what"],
)
for _what in ("object", "fragment"):
    CONFLICTS.labels(_what)  # initialise to 0: increase() ignores a series' first sample
UNLOCKED = Counter(
    "districam_recorder_unlocked_total",
    "Segments stored without the lock that recorder.lock_h asks for: bucket (it has no object lock), refused (by the store), "
    "late (it would be over)",
    ["why"],
)
CAPTURED_TO_STORED_SECONDS = Histogram(
    "districam_captured_to_stored_seconds",
    "From a segment's first access unit until its announcement is acknowledged",
    buckets=LATENCY_BUCKETS_S,
)
