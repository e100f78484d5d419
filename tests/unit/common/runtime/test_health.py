"""Readiness, and the responses of the health server."""

import json

import pytest
from prometheus_client import Counter

from districam_common.runtime.health import Health, handle_request

COUNTED = Counter("districam_tests_answers_total", "Counts in this test.")


def test_a_service_is_ready_once_each_dependency_is_reported_ok() -> None:
    health = Health()
    health.declare("kafka", "s3")
    assert not health.is_ready
    health.report_ok("kafka")
    assert not health.is_ready
    health.report_ok("s3")
    assert health.is_ready
    health.report_failing("s3", "bucket missing")
    assert not health.is_ready
    health.declare("s3")
    assert health.snapshot()["s3"].detail == "bucket missing"
    health.report_ok("s3")
    assert health.is_ready


def test_readyz_lists_dependencies_with_details() -> None:
    health = Health()
    health.declare("kafka")
    health.report_failing("kafka", "no broker")
    response = handle_request("GET", "/readyz", "", health)
    assert response.status == 503
    assert json.loads(response.body) == {
        "ready": False,
        "dependencies": {"kafka": {"ok": False, "detail": "no broker"}},
    }
    health.report_ok("kafka")
    response = handle_request("GET", "/readyz?verbose", "", health)
    assert response.status == 200
    assert json.loads(response.body) == {"ready": True, "dependencies": {"kafka": {"ok": True, "detail": ""}}}


def test_metrics_are_in_the_prometheus_format() -> None:
    COUNTED.inc(3)
    response = handle_request("GET", "/metrics", "", Health())
    assert response.status == 200
    assert response.content_type.startswith("text/plain")
    assert b"districam_tests_answers_total 3.0" in response.body
    openmetrics = handle_request("GET", "/metrics", "application/openmetrics-text; version=1.0.0", Health())
    assert openmetrics.content_type.startswith("application/openmetrics-text")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("HEAD", "/healthz", 200), ("GET", "/", 404), ("POST", "/healthz", 405)],
)
def test_other_requests(method: str, path: str, status: int) -> None:
    assert handle_request(method, path, "", Health()).status == status
