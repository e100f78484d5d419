"""Ingest's metrics. The series of a camera are removed when it moves to another replica."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge

ACCESS_UNITS = Counter("districam_ingest_access_units_total", "Pictures read.", ["camera"])
BYTES = Counter("districam_ingest_bytes_total", "Bytes of pictures read.", ["camera"])
DAMAGED = Counter("districam_ingest_damaged_total", "Incomplete pictures.", ["camera"])
PACKETS_LOST = Counter("districam_ingest_packets_lost_total", "RTP packets lost.", ["camera"])
AUDIO_UNITS = Counter(
    "districam_ingest_sound_units_total", "Audio access units stored, inserted silence included.", ["camera"]
)
AUDIO_UNITS_DROPPED = Counter(
    "districam_ingest_sound_left_out_total", "Audio access units that were not stored.", ["camera"]
)
RECONNECTS = Counter(
    "districam_ingest_reconnects_total", "Connections that were lost, or attempts that failed.", ["camera", "cause"]
)
CONNECTED = Gauge("districam_ingest_connected", "1 while an epoch is running.", ["camera"])
FPS = Gauge("districam_ingest_fps", "Pictures per second over the last 10 s.", ["camera"])
NOMINAL_FPS = Gauge(
    "districam_ingest_nominal_fps",
    "Pictures per second declared in the SPS's VUI timing information; absent if not declared.",
    ["camera"],
)
GOP = Gauge(
    "districam_ingest_gop_seconds",
    "Time between the last two keyframes; the longest of an epoch is the profile's `gop_s`.",
    ["camera"],
)
JITTER = Gauge("districam_ingest_jitter_seconds", "Interarrival jitter of pictures.", ["camera"])
CLOCK_OFFSET = Gauge("districam_ingest_clock_offset_seconds", "The camera's clock minus ours.", ["camera"])
LAST_ACCESS_UNIT = Gauge(
    "districam_ingest_last_access_unit_timestamp_seconds", "Start of the newest picture.", ["camera"]
)
SHED = Counter("districam_ingest_shed_access_units_total", "Pictures shed.", ["cause"])
for _cause in ("shed_backpressure", "stream_error"):
    SHED.labels(_cause)  # initialised to 0: increase() ignores the first sample of a series
BUFFERED = Gauge("districam_ingest_buffered_bytes", "Bytes waiting for Kafka, or held until their time is known.")
COMPILED = Gauge("districam_ingest_compiled", "1 if the per-picture code runs compiled, 0 if interpreted.")
STILLS_SKIPPED = Counter(
    "districam_ingest_stills_skipped_total",
    "Stills not made or not published: decoder processes were busy, failed or crashed, or Kafka was unavailable.",
)
CLOCK_SKEW = Gauge("districam_ingest_host_clock_skew_seconds", "This host's clock minus the broker's.")
CLOCK_SYNCHRONIZED = Gauge(
    "districam_ingest_host_clock_synchronized", "1 while the kernel reports that the host's clock is synchronized."
)
CLOCK_ERROR = Gauge(
    "districam_ingest_host_clock_estimated_error_seconds", "The kernel's estimate of the host clock's error."
)

BROKER_CLOCK_SKEW = Gauge(
    "districam_ingest_broker_clock_apart_seconds",
    "Lower bound of how far a broker's clock is ahead of the time used by this host; 0 if the acks are consistent with no skew.",
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
    """Removes all series of this camera."""
    for metric in _BY_CAMERA:
        metric.remove_by_labels({"camera": camera_id})
    RECONNECTS.remove_by_labels({"camera": camera_id})


_exported_brokers: set[str] = set()


def export_broker_skews(skews_us: Mapping[int, int]) -> None:
    """Exports how far each broker's clock is ahead of ours (broker id → µs) and removes the series of all others."""
    skews_s = {str(broker): us / 1e6 for broker, us in skews_us.items()}
    for broker in _exported_brokers - skews_s.keys():
        BROKER_CLOCK_SKEW.remove(broker)
    for broker, seconds in skews_s.items():
        BROKER_CLOCK_SKEW.labels(broker).set(seconds)
    _exported_brokers.clear()
    _exported_brokers.update(skews_s)
