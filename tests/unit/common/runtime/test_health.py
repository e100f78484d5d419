"""Readiness, and what the health server answers."""

import json

import pytest
from prometheus_client import Counter

from districam_common.runtime.health import Health, answer

COUNTED = Counter("districam_tests_answers_total", "Counts in this test.")


def test_a_service_is_ready_once_each_dependency_has_been_told_ok() -> None:
    health = Health()
    health.needs("kafka", "s3")
    assert not health.is_ready
    health.ok("kafka")
    assert not health.is_ready
    health.ok("s3")
    assert health.is_ready
    health.failing("s3", "bucket missing")
    assert not health.is_ready
    health.needs("s3")
    assert health.snapshot()["s3"].detail == "bucket missing"
    health.ok("s3")
    assert health.is_ready


def test_readyz_says_each_dependency_and_why_not() -> None:
    health = Health()
    health.needs("kafka")
    health.failing("kafka", "no broker")
    said = answer("GET", "/readyz", "", health)
    assert said.status == 503
    assert json.loads(said.body) == {
        "ready": False,
        "dependencies": {"kafka": {"ok": False, "detail": "no broker"}},
    }
    health.ok("kafka")
    said = answer("GET", "/readyz?verbose", "", health)
    assert said.status == 200
    assert json.loads(said.body) == {"ready": True, "dependencies": {"kafka": {"ok": True, "detail": ""}}}


def test_metrics_are_what_prometheus_reads() -> None:
    COUNTED.inc(3)
    said = answer("GET", "/metrics", "", Health())
    assert said.status == 200
    assert said.content_type.startswith("text/plain")
    assert b"districam_tests_answers_total 3.0" in said.body
    openmetrics = answer("GET", "/metrics", "application/openmetrics-text; version=1.0.0", Health())
    assert openmetrics.content_type.startswith("application/openmetrics-text")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("HEAD", "/healthz", 200), ("GET", "/", 404), ("POST", "/healthz", 405)],
)
def test_other_requests(method: str, path: str, status: int) -> None:
    assert answer(method, path, "", Health()).status == status
