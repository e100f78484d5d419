"""Faults that the simulated cameras can be told to have.

A new kind needs a word here, a method on the simulation, and its line in `Simulation.inject`.
"""

import re
from dataclasses import dataclass
from typing import Literal, cast

FaultKind = Literal["drop", "silence"]

_FORM = re.compile(r"^(drop|silence):([a-z0-9][a-z0-9-]{0,62})@(\d+(?:\.\d+)?)(?:\+(\d+(?:\.\d+)?))?$")


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` befalls the camera `at_s` seconds after the simulation's start, for `for_s` seconds if it lasts.

    drop: its connections end at once; it can be connected to again at once.
    silence: connections stay and requests are answered, but no RTP or RTCP is sent.
    """

    kind: FaultKind
    camera_id: str
    at_s: float
    for_s: float = 0.0


def parse_fault(text: str) -> Fault:
    """`drop:cam-001@20` or `silence:cam-002@20+5`; raises ValueError."""
    match = _FORM.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no fault: write drop:CAMERA@SECONDS or silence:CAMERA@SECONDS+SECONDS")
    kind, camera_id, at_s, for_s = match.groups()
    if (kind == "silence") != (for_s is not None):
        raise ValueError(f"{text!r}: a silence has a length, a drop has none")
    return Fault(cast("FaultKind", kind), camera_id, float(at_s), float(for_s or 0))
