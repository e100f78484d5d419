"""The recorder's Prometheus metrics."""

from prometheus_client import Counter, Gauge, Histogram

from districam_common.runtime.metrics import LATENCY_BUCKETS_S

SEGMENTS = Counter(
    "districam_recorder_segments_total", "Segments stored and announced, by the reason for closing", ["ended_by"]
)
PUT_SECONDS = Histogram("districam_recorder_put_seconds", "Duration of a successful PUT of an object")
PUT_ERRORS = Counter("districam_recorder_put_errors_total", "Failed PUTs; each is retried", ["cause"])
OPEN_BYTES = Gauge("districam_recorder_open_bytes", "Bytes of segments in memory: open or not yet announced")
DUPLICATES = Counter("districam_recorder_repeats_total", "Duplicate fragments dropped")
DEADLETTERS = Counter(
    "districam_recorder_deadletters_total", "Dead letters: records that can never be stored, and segments in conflict"
)
CONFLICTS = Counter(
    "districam_recorder_conflicts_total",
    "Segments whose key holds another object, and fragments whose seq was used by another fragment",
    ["what"],
)
for _what in ("object", "fragment"):
    CONFLICTS.labels(_what)  # initialise to 0: increase() ignores a series' first sample
UNLOCKED = Counter(
    "districam_recorder_unlocked_total",
    "Segments stored without the lock of recorder.lock_h: bucket (it has no object lock), refused (by the store), "
    "late (the lock would be over)",
    ["why"],
)
CAPTURED_TO_STORED_SECONDS = Histogram(
    "districam_captured_to_stored_seconds",
    "From a segment's first access unit to the acknowledgement of its announcement",
    buckets=LATENCY_BUCKETS_S,
)
