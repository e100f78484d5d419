"""Metrics of cameras, and their removal."""

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from districam_ingest import metrics


def _labels(metric: MetricWrapperBase) -> tuple[str, ...]:
    return tuple(getattr(metric, "_labelnames"))  # noqa: B009  # there is no public accessor


def _series_of(camera_id: str) -> set[str]:
    return {
        sample.name
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("camera") == camera_id
    }


def test_a_moved_camera_has_no_series() -> None:
    by_camera = [
        one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase) and "camera" in _labels(one)
    ]
    assert len(by_camera) >= 13
    for metric in by_camera:
        others = [name for name in _labels(metric) if name != "camera"]
        for camera_id in ("cam-gone", "cam-here"):
            metric.labels(camera=camera_id, **dict.fromkeys(others, "camera_unreachable"))
    assert _series_of("cam-gone")
    metrics.remove_camera("cam-gone")
    assert _series_of("cam-gone") == set()
    assert _series_of("cam-here")
    metrics.remove_camera("cam-here")
    metrics.remove_camera("cam-here")  # idempotent


def test_the_shed_counters_start_at_0() -> None:
    for cause in ("shed_backpressure", "stream_error"):
        value = REGISTRY.get_sample_value("districam_ingest_shed_access_units_total", {"cause": cause})
        assert value is not None
