"""What a run must show, whatever was killed in its middle."""

from collections.abc import Iterator, Mapping
from typing import Any

SESSION_TIMEOUT_S = 10.0
"""A consumer group's session timeout: so long nobody knows that a replica is dead."""
RECONNECT_S = 6.0
MAX_GOP_S = 10.0
"""Of the demo's cameras: `bikes` has one keyframe a loop."""


def find_violations(report: Mapping[str, Any], killed_service: str | None) -> Iterator[str]:
    """What the report shows that it must not, a sentence each.

    Nothing behind Kafka costs a picture when it dies, nor does Kafka itself; a dead ingest costs a told gap of at most
    session timeout + 6 s + one GOP.
    """
    if report["unaccounted"]:
        yield f"{report['unaccounted']} pictures are neither stored nor in a told gap"
    if report["duplicates"]:
        yield f"{report['duplicates']} pictures are shown twice"
    if not report["playlist"]["ok"]:
        yield "the playlist does not decode to the pictures that are stored"
    if killed_service != "ingest" and report["access_units_in_gaps"]:
        yield f"{report['access_units_in_gaps']} pictures are in gaps, and no camera was cut off"
    max_gap_s = SESSION_TIMEOUT_S + RECONNECT_S + MAX_GOP_S
    for gap in report["gaps"]:
        if killed_service == "ingest" and (gap["cause"] != "service_down" or gap["s"] > max_gap_s):
            yield f"{gap['camera']} has a gap of {gap['s']} s, {gap['cause']}; at most {max_gap_s:g} s of service_down is due"
