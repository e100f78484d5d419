"""Checks of the demo's report."""

from collections.abc import Iterator, Mapping
from typing import Any

SESSION_TIMEOUT_S = 10.0
"""The consumer group's session timeout: a dead replica is noticed after this time."""
RECONNECT_S = 6.0
MAX_GOP_S = 10.0
"""Longest GOP of the demo's cameras: `bikes` has one keyframe per loop."""


def find_violations(report: Mapping[str, Any], killed_service: str | None) -> Iterator[str]:
    """Yields one sentence for each violation in the report.

    A kill of Kafka, or of a service that consumes from it, may lose no picture. A kill of ingest may cause one gap
    per camera of at most session timeout + reconnect time + one GOP.
    """
    if report["unaccounted"]:
        yield f"{report['unaccounted']} pictures are neither stored nor in a reported gap"
    if report["duplicates"]:
        yield f"{report['duplicates']} pictures are shown twice"
    if not report["playlist"]["ok"]:
        yield "the playlist does not decode to the pictures that are stored"
    if killed_service != "ingest" and report["access_units_in_gaps"]:
        yield f"{report['access_units_in_gaps']} pictures are in gaps although no camera was disconnected"
    max_gap_s = SESSION_TIMEOUT_S + RECONNECT_S + MAX_GOP_S
    for gap in report["gaps"]:
        if killed_service == "ingest" and (gap["cause"] != "service_down" or gap["s"] > max_gap_s):
            yield f"{gap['camera']} has a gap of {gap['s']} s, {gap['cause']}; only service_down of at most {max_gap_s:g} s is allowed"
