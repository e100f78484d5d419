"""Ingest's metrics; the series of a camera that has moved away are removed."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge

ACCESS_UNITS = Counter("districam_ingest_access_units_total", "Pictures read.", ["camera"])
BYTES = Counter("districam_ingest_bytes_total", "Bytes of pictures read.", ["camera"])
DAMAGED = Counter("districam_ingest_damaged_total", "Pictures known to be incomplete.", ["camera"])
PACKETS_LOST = Counter("districam_ingest_packets_lost_total", "Packets known to be missing.", ["camera"])
AUDIO_UNITS = Counter(
    "districam_ingest_sound_units_total",
    "Access units of sound stored, and silence in their place",
    ["camera"],
)
AUDIO_UNITS_DROPPED = Counter(
    "districam_ingest_sound_left_out_total", "Access units of sound that were not stored", ["camera"]
)
RECONNECTS = Counter("districam_ingest_reconnects_total", "Streams lost or refused.", ["camera", "cause"])
CONNECTED = Gauge("districam_ingest_connected", "1 while an epoch is running.", ["camera"])
FPS = Gauge("districam_ingest_fps", "Pictures a second over the last ten seconds.", ["camera"])
NOMINAL_FPS = Gauge(
    "districam_ingest_nominal_fps",
    "Pictures a second by the stream's own parameters, if they say.",
    ["camera"],
)
GOP = Gauge(
    "districam_ingest_gop_seconds",
    "Distance of the last two keyframes; the longest of an epoch is the profile's `gop_s`.",
    ["camera"],
)
JITTER = Gauge("districam_ingest_jitter_seconds", "Interarrival jitter of pictures.", ["camera"])
CLOCK_OFFSET = Gauge("districam_ingest_clock_offset_seconds", "The camera's clock minus ours.", ["camera"])
LAST_ACCESS_UNIT = Gauge(
    "districam_ingest_last_access_unit_timestamp_seconds", "Start of the newest picture.", ["camera"]
)
SHED = Counter("districam_ingest_shed_access_units_total", "Pictures shed.", ["cause"])
for _cause in ("shed_backpressure", "stream_error"):
    SHED.labels(_cause)  # 0 from the start: the step from nothing to its first value is no increase to Prometheus
BUFFERED = Gauge("districam_ingest_buffered_bytes", "Bytes that wait for Kafka, or for their time.")
COMPILED = Gauge("districam_ingest_compiled", "1 where what is done for every picture is compiled, 0 where interpreted")
STILLS_SKIPPED = Counter(
    "districam_ingest_stills_skipped_total",
    "Stills not made or not published: the children were behind, could not decode the picture, or died of it, or Kafka was away.",
)
CLOCK_SKEW = Gauge("districam_ingest_host_clock_skew_seconds", "This host's clock minus the broker's.")
CLOCK_SYNCHRONIZED = Gauge(
    "districam_ingest_host_clock_synchronized",
    "1 while something keeps this host's clock in time, by its kernel.",
)
CLOCK_ERROR = Gauge(
    "districam_ingest_host_clock_estimated_error_seconds",
    "By how much the kernel thinks that its clock is off.",
)

BROKER_CLOCK_SKEW = Gauge(
    "districam_ingest_broker_clock_apart_seconds",
    "By how much a broker's clock is surely ahead of the time that this host goes by; 0 where the acks allow that it is not.",
    ["broker"],
)

_BY_CAMERA = (
    AUDIO_UNITS,
    AUDIO_UNITS_DROPPED,
    ACCESS_UNITS,
    BYTES,
    DAMAGED,
    PACKETS_LOST,
    CONNECTED,
    FPS,
    NOMINAL_FPS,
    GOP,
    CLOCK_OFFSET,
    JITTER,
    LAST_ACCESS_UNIT,
)


def remove_camera(camera_id: str) -> None:
    """Removes a camera's series."""
    for metric in _BY_CAMERA:
        metric.remove_by_labels({"camera": camera_id})
    RECONNECTS.remove_by_labels({"camera": camera_id})


_exported_brokers: set[str] = set()


def export_broker_skews(skews_us: Mapping[int, int]) -> None:
    """Broker → by how much its clock is ahead of ours; those that are not in it are gone."""
    skews_s = {str(broker): us / 1e6 for broker, us in skews_us.items()}
    for broker in _exported_brokers - skews_s.keys():
        BROKER_CLOCK_SKEW.remove(broker)
    for broker, seconds in skews_s.items():
        BROKER_CLOCK_SKEW.labels(broker).set(seconds)
    _exported_brokers.clear()
    _exported_brokers.update(skews_s)
