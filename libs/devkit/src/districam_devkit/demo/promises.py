"""What a run must show, whatever was killed in its middle."""

from collections.abc import Iterator, Mapping
from typing import Any

SESSION_S = 10.0
"""A consumer group's session timeout: so long nobody knows that a replica is dead."""
CONNECT_S = 6.0
LONGEST_GOP_S = 10.0
"""Of the demo's cameras: `bikes` has one keyframe a loop."""


def broken_promises(made: Mapping[str, Any], killed: str | None) -> Iterator[str]:
    """What the report shows that it must not, a sentence each.

    Nothing behind Kafka costs a picture when it dies, nor does Kafka itself; a dead ingest costs a told gap of at most
    session timeout + 6 s + one GOP.
    """
    if made["unaccounted"]:
        yield f"{made['unaccounted']} pictures are neither stored nor in a told gap"
    if made["duplicates"]:
        yield f"{made['duplicates']} pictures are shown twice"
    if not made["playlist"]["ok"]:
        yield "the playlist does not decode to the pictures that are stored"
    if killed != "ingest" and made["access_units_in_gaps"]:
        yield f"{made['access_units_in_gaps']} pictures are in gaps, and no camera was cut off"
    most_s = SESSION_S + CONNECT_S + LONGEST_GOP_S
    for gap in made["gaps"]:
        if killed == "ingest" and (gap["cause"] != "service_down" or gap["s"] > most_s):
            yield f"{gap['camera']} has a gap of {gap['s']} s, {gap['cause']}; at most {most_s:g} s of service_down is due"
