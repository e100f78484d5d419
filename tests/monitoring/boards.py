"""The four dashboards: panels and their queries. `grafana.py` renders them as Grafana's JSON."""

from dataclasses import dataclass
from typing import Literal

from districam_devkit.services import SERVICES as SERVICES_BY_NAME

Kind = Literal["stat", "lines", "bars", "table", "states"]


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Chart:
    """A panel. `warn` and `bad` are a stat's thresholds; `bad` below `warn` means that low values are bad."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"
    width: int = 8
    height: int = 8
    help: str = ""
    warn: float | None = None
    bad: float | None = None
    stacked: bool = False


@dataclass(frozen=True)
class Board:
    """A dashboard; with `camera` it has a variable to select one camera."""

    uid: str
    title: str
    charts: tuple[Chart, ...]
    camera: bool = False
    period: str = "now-6h"


def one(expr: str, legend: str = "") -> tuple[Query, ...]:
    return (Query(expr, legend),)


def quantiles(metric: str, *shares: float) -> tuple[Query, ...]:
    """Percentiles of a histogram over all replicas."""
    return tuple(
        Query(
            f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket[$__rate_interval])))",
            f"p{round(share * 100)}",
        )
        for share in shares
    )


DISTRICT = Board(
    "districam-district",
    "districam: District",
    (
        Chart(
            "Cameras recording now",
            one("sum(max by (camera) (districam_ingest_connected)) or vector(0)"),
            kind="stat",
            width=4,
            height=5,
        ),
        Chart(
            "Cameras not recording",
            one("count(max by (camera) (districam_ingest_connected) == 0) or vector(0)"),
            kind="stat",
            width=4,
            height=5,
            warn=1,
            bad=3,
        ),
        Chart(
            "Recorded, last hour",
            one('avg(min by (camera) (districam_recorded_ratio{window="1h"}))'),
            "percentunit",
            "stat",
            4,
            5,
            warn=0.999,
            bad=0.99,
        ),
        Chart(
            "Recorded, last day",
            one('avg(min by (camera) (districam_recorded_ratio{window="1d"}))'),
            "percentunit",
            "stat",
            4,
            5,
            warn=0.999,
            bad=0.99,
        ),
        Chart(
            "Pipeline losses, last day",
            one('sum(districam_gap_seconds{window="1d", cause=~"pipeline_loss|unknown"}) or vector(0)'),
            "s",
            "stat",
            4,
            5,
            "Seconds that were received and then lost: a bug of districam. Must be 0.",
            warn=0.001,
            bad=1,
        ),
        Chart(
            "Storage days left",
            one(
                "(max(districam_storage_budget_bytes) - max(districam_stored_bytes))"
                " / (sum(rate(districam_ingest_bytes_total[1h])) * 86400)"
            ),
            "short",
            "stat",
            4,
            5,
            "Until the budget (storage.max_bytes) is reached at the last hour's rate. Without a budget there is no value.",
            warn=3,
            bad=1,
        ),
        Chart(
            "Recorded ratio, worst ten of the last hour",
            one('bottomk(10, min by (camera) (districam_recorded_ratio{window="1h"}))', "{{camera}}"),
            "percentunit",
            "bars",
            12,
            9,
        ),
        Chart(
            "Gaps of the last hour by cause",
            one('sum by (cause) (districam_gap_seconds{window="1h"})', "{{cause}}"),
            "s",
            "lines",
            12,
            9,
            stacked=True,
        ),
        Chart(
            "Cameras by state",
            (
                Query("sum(max by (camera) (districam_ingest_connected))", "delivering"),
                Query("count(max by (camera) (districam_ingest_connected) == 0) or vector(0)", "not delivering"),
            ),
            width=12,
            stacked=True,
        ),
        Chart(
            "Stored, and the budget",
            (
                Query("max(districam_stored_bytes)", "stored"),
                Query("max(districam_storage_budget_bytes)", "budget"),
                Query("max(districam_storage_over_budget_bytes)", "over it, not deletable"),
            ),
            "bytes",
            width=12,
        ),
        Chart(
            "Longest without a stored segment",
            one("topk(10, time() - max by (camera) (districam_last_segment_end_timestamp_seconds))", "{{camera}}"),
            "s",
            "bars",
            12,
            9,
            "Segments are ten seconds long and checked every fifteen: up to 45 s is normal.",
        ),
        Chart(
            "Holds",
            (
                Query("sum by (state) (districam_holds)", "{{state}}"),
                Query("max by (state) (districam_hold_protection) == 1", "the store: {{state}}"),
            ),
            kind="bars",
            width=12,
            height=9,
        ),
    ),
)

CAMERA = Board(
    "districam-camera",
    "districam: Camera",
    (
        Chart(
            "Delivering",
            one('max(districam_ingest_connected{camera="$camera"})', "$camera"),
            kind="states",
            width=18,
            height=5,
        ),
        Chart(
            "Last picture's age",
            one('time() - max(districam_ingest_last_access_unit_timestamp_seconds{camera="$camera"})'),
            "s",
            "stat",
            6,
            5,
            warn=10,
            bad=20,
        ),
        Chart(
            "Pictures a second",
            (
                Query('max(districam_ingest_nominal_fps{camera="$camera"})', "nominal"),
                Query('max(districam_ingest_fps{camera="$camera"})', "of ten seconds"),
                Query('sum(rate(districam_ingest_access_units_total{camera="$camera"}[$__rate_interval]))', "read"),
            ),
        ),
        Chart(
            "Bit rate",
            one('sum(rate(districam_ingest_bytes_total{camera="$camera"}[$__rate_interval])) * 8', "video"),
            "bps",
        ),
        Chart("Distance of keyframes", one('max(districam_ingest_gop_seconds{camera="$camera"})', "GOP"), "s"),
        Chart(
            "Packets lost, pictures damaged",
            (
                Query(
                    'sum(rate(districam_ingest_packets_lost_total{camera="$camera"}[$__rate_interval]))', "packets lost"
                ),
                Query(
                    'sum(rate(districam_ingest_damaged_total{camera="$camera"}[$__rate_interval]))', "pictures damaged"
                ),
            ),
            "cps",
        ),
        Chart("Jitter of pictures", one('max(districam_ingest_jitter_seconds{camera="$camera"})', "jitter"), "s"),
        Chart(
            "Camera clock minus ours",
            one('max(districam_ingest_clock_offset_seconds{camera="$camera"})', "offset"),
            "s",
        ),
        Chart(
            "Reconnects by cause",
            one(
                'sum by (cause) (increase(districam_ingest_reconnects_total{camera="$camera"}[$__rate_interval]))',
                "{{cause}}",
            ),
            stacked=True,
        ),
        Chart(
            "Gaps by cause, last hour",
            one('sum by (cause) (districam_gap_seconds{camera="$camera", window="1h"})', "{{cause}}"),
            "s",
            stacked=True,
        ),
        Chart(
            "Recorded ratio",
            one('min by (window) (districam_recorded_ratio{camera="$camera"})', "{{window}}"),
            "percentunit",
        ),
        Chart(
            "Audio",
            (
                Query('sum(rate(districam_ingest_sound_units_total{camera="$camera"}[$__rate_interval]))', "stored"),
                Query(
                    'sum(rate(districam_ingest_sound_left_out_total{camera="$camera"}[$__rate_interval]))', "left out"
                ),
            ),
            "cps",
        ),
    ),
    camera=True,
)

PIPELINE = Board(
    "districam-pipeline",
    "districam: Pipeline",
    (
        Chart(
            "Captured → stored",
            quantiles("districam_captured_to_stored_seconds", 0.5, 0.9, 0.99),
            "s",
            help="From a segment's first picture, so it includes the segment's ten seconds.",
        ),
        Chart("Filmed → found", quantiles("districam_captured_to_indexed_seconds", 0.5, 0.9, 0.99), "s"),
        Chart(
            "Lag by consumer group",
            one("sum by (consumergroup) (kafka_consumergroup_lag{consumergroup=~'districam-.*'})", "{{consumergroup}}"),
            help="Records, from the lag exporter.",
        ),
        Chart("Read from cameras", one("sum(rate(districam_ingest_bytes_total[$__rate_interval]))", "video"), "Bps"),
        Chart("Time of a put", quantiles("districam_recorder_put_seconds", 0.5, 0.9, 0.99), "s"),
        Chart(
            "Segments by reason for closing",
            one("sum by (ended_by) (rate(districam_recorder_segments_total[$__rate_interval]))", "{{ended_by}}"),
            "cps",
            stacked=True,
        ),
        Chart("Waiting for Kafka", one("sum by (instance) (districam_ingest_buffered_bytes)", "{{instance}}"), "bytes"),
        Chart(
            "In the recorders' memory",
            one("sum by (instance) (districam_recorder_open_bytes)", "{{instance}}"),
            "bytes",
        ),
        Chart(
            "Shed",
            one("sum by (cause) (rate(districam_ingest_shed_access_units_total[$__rate_interval]))", "{{cause}}"),
            "cps",
        ),
        Chart(
            "Puts that failed",
            one("sum by (cause) (rate(districam_recorder_put_errors_total[$__rate_interval]))", "{{cause}}"),
            "cps",
        ),
        Chart(
            "Dead letters",
            (
                Query("sum(increase(districam_recorder_deadletters_total[$__rate_interval]))", "recorder"),
                Query("sum(increase(districam_indexer_deadletters_total[$__rate_interval]))", "indexer"),
                Query(
                    "sum by (what) (increase(districam_unreadable_total[$__rate_interval]))",
                    "{{what}} of index or bucket",
                ),
                Query(
                    "sum by (topic) (increase(districam_unreadable_batches_total[$__rate_interval]))",
                    "unreadable in {{topic}}",
                ),
                Query(
                    "sum by (what) (increase(districam_recorder_conflicts_total[$__rate_interval]))",
                    "conflicting {{what}}",
                ),
                Query(
                    "sum by (why) (increase(districam_recorder_unlocked_total[$__rate_interval]))",
                    "stored without a lock: {{why}}",
                ),
                Query("sum(increase(districam_retention_locked_total[$__rate_interval]))", "locked, and due"),
                Query("sum(increase(districam_indexer_expired_refused_total[$__rate_interval]))", "expired, rejected"),
            ),
        ),
        Chart(
            "Rounds of the indexer over its cameras",
            one("max by (loop) (districam_indexer_round_seconds)", "{{loop}}"),
            "s",
        ),
        Chart(
            "Duplicates dropped, stills skipped, versions deleted",
            (
                Query("sum(rate(districam_recorder_repeats_total[$__rate_interval]))", "repeats"),
                Query("sum(rate(districam_ingest_stills_skipped_total[$__rate_interval]))", "stills skipped"),
                Query("sum(rate(districam_retention_deleted_total[$__rate_interval]))", "deleted by retention"),
            ),
            "cps",
        ),
    ),
)

SERVICES = Board(
    "districam-services",
    "districam: Services",
    (
        Chart(
            "Replicas that answer",
            one(f'sum by (job) (up{{job=~"{"|".join(SERVICES_BY_NAME)}"}})', "{{job}}"),
            kind="bars",
        ),
        Chart(
            "CPU, cores",
            one("sum by (job, instance) (rate(process_cpu_seconds_total[$__rate_interval]))", "{{job}} {{instance}}"),
        ),
        Chart("Memory", one("sum by (job, instance) (process_resident_memory_bytes)", "{{job}} {{instance}}"), "bytes"),
        Chart(
            "Event loop lag, p99",
            one(
                "histogram_quantile(0.99, sum by (job, le) (rate(districam_loop_lag_seconds_bucket[$__rate_interval])))",
                "{{job}}",
            ),
            "s",
        ),
        Chart("Open files", one("sum by (job, instance) (process_open_fds)", "{{job}} {{instance}}")),
        Chart(
            "Hosts' clocks",
            (
                Query("max by (instance) (districam_ingest_host_clock_skew_seconds)", "{{instance}} minus broker"),
                Query(
                    "max by (instance) (districam_ingest_host_clock_estimated_error_seconds)", "{{instance}} may be off"
                ),
            ),
            "s",
        ),
        Chart(
            "Brokers' clocks",
            one("max by (broker) (abs(districam_ingest_broker_clock_apart_seconds))", "broker {{broker}}"),
            "s",
        ),
        Chart(
            "Hosts' clocks synchronized",
            one("min by (instance) (districam_ingest_host_clock_synchronized)", "{{instance}}"),
            kind="bars",
        ),
        Chart(
            "Ingest compiled (1) or interpreted (0)",
            one("min by (instance) (districam_ingest_compiled)", "{{instance}}"),
            kind="bars",
        ),
        Chart(
            "API: responses per second by status",
            one("sum by (status) (rate(districam_api_requests_total[$__rate_interval]))", "{{status}}"),
            "reqps",
            stacked=True,
        ),
        Chart(
            "API: open connections", one("sum by (instance, kind) (districam_api_connections)", "{{instance}} {{kind}}")
        ),
        Chart(
            "API: connections closed or rejected per second",
            one("sum by (cause) (rate(districam_api_connections_ended_total[$__rate_interval]))", "{{cause}}"),
            "ops",
            stacked=True,
        ),
        Chart(
            "API: time to the last byte, p90",
            one(
                "histogram_quantile(0.9, sum by (route, le) (rate(districam_api_request_seconds_bucket[$__rate_interval])))",
                "{{route}}",
            ),
            "s",
        ),
    ),
)

BOARDS = (DISTRICT, CAMERA, PIPELINE, SERVICES)
