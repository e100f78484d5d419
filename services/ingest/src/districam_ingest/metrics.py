"""Ingest's metrics; the series of a camera that has moved away are removed."""

from prometheus_client import Counter, Gauge

ACCESS_UNITS = Counter("districam_ingest_access_units_total", "Pictures read.", ["camera"])
BYTES = Counter("districam_ingest_bytes_total", "Bytes of pictures read.", ["camera"])
DAMAGED = Counter("districam_ingest_damaged_total", "Pictures known to be incomplete.", ["camera"])
PACKETS_LOST = Counter("districam_ingest_packets_lost_total", "Packets known to be missing.", ["camera"])
RECONNECTS = Counter("districam_ingest_reconnects_total", "Streams lost or refused.", ["camera", "cause"])
CONNECTED = Gauge("districam_ingest_connected", "1 while an epoch is running.", ["camera"])
FPS = Gauge("districam_ingest_fps", "Pictures a second over the last ten seconds.", ["camera"])
GOP = Gauge("districam_ingest_gop_seconds", "Distance of the last two keyframes.", ["camera"])
CLOCK_OFFSET = Gauge("districam_ingest_clock_offset_seconds", "The camera's clock minus ours.", ["camera"])
LAST_ACCESS_UNIT = Gauge(
    "districam_ingest_last_access_unit_timestamp_seconds", "Start of the newest picture.", ["camera"]
)
SHED = Counter("districam_ingest_shed_access_units_total", "Pictures shed.", ["cause"])
BUFFERED = Gauge("districam_ingest_buffered_bytes", "Bytes that wait for Kafka.")
STILLS_SKIPPED = Counter(
    "districam_ingest_stills_skipped_total", "Stills not made, since the pool was behind."
)
CLOCK_SKEW = Gauge("districam_ingest_host_clock_skew_seconds", "This host's clock minus the broker's.")

_BY_CAMERA = (ACCESS_UNITS, BYTES, DAMAGED, PACKETS_LOST, CONNECTED, FPS, GOP, CLOCK_OFFSET, LAST_ACCESS_UNIT)


def forget(camera_id: str) -> None:
    """Removes a camera's series."""
    for metric in _BY_CAMERA:
        metric.remove_by_labels({"camera": camera_id})
    RECONNECTS.remove_by_labels({"camera": camera_id})
