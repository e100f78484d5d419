"""The demo's checks can fail: each violation is named."""

from typing import Any

import pytest

from districam_devkit.demo.report_checks import find_violations


def made(**changes: Any) -> dict[str, Any]:
    gaps: list[dict[str, Any]] = []
    playlist = {"ok": True}
    report = dict[str, Any](unaccounted=0, duplicates=0, playlist=playlist, access_units_in_gaps=0, gaps=gaps)
    return report | changes


@pytest.mark.parametrize("killed", [None, "recorder", "indexer", "kafka", "ingest"])
def test_a_clean_report_has_no_violations(killed: str | None) -> None:
    assert list(find_violations(made(), killed)) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"unaccounted": 3}, "neither stored"),
        ({"duplicates": 1}, "shown twice"),
        ({"playlist": {"ok": False}}, "playlist"),
        ({"access_units_in_gaps": 7}, "no camera was disconnected"),
    ],
)
def test_each_violation_is_named(changes: dict[str, Any], word: str) -> None:
    [violation] = find_violations(made(**changes), "recorder")
    assert word in violation


def test_a_killed_ingest_may_cause_a_short_service_down_gap() -> None:
    gap = {"camera": "cam-001", "cause": "service_down", "s": 12.0}
    assert list(find_violations(made(access_units_in_gaps=300, gaps=[gap]), "ingest")) == []
    [long] = find_violations(made(gaps=[gap | {"s": 26.5}]), "ingest")
    assert "26.5" in long
    [wrong] = find_violations(made(gaps=[gap | {"cause": "source_silent"}]), "ingest")
    assert "source_silent" in wrong
