"""Metrics shared by services, and their exposition."""

from prometheus_client import REGISTRY, Counter
from prometheus_client.exposition import choose_encoder

LATENCY_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Buckets for the time from capture to durable storage: seconds normally, an hour after an outage."""

UNREADABLE_BATCHES = Counter(
    "districam_unreadable_batches_total",
    "Places in a topic at which no record can be read: passed over, and told as dead letters",
    ["topic"],
)


def exposition(accept: str) -> tuple[str, bytes]:
    """Content type and body of a scrape with this Accept header."""
    encode, content_type = choose_encoder(accept)
    return content_type, encode(REGISTRY)
