"""Where a camera's fragments, events and stills go, and under whose name."""

from collections.abc import Callable
from dataclasses import dataclass

from districam_ingest.output.send_queue import SendQueue
from districam_ingest.output.stills import StillMaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Sinks:
    """What every epoch of a process shares."""

    send_queue: SendQueue
    stills: StillMaker
    instance: str
    now_us: Callable[[], int]
    """Wall time, the broker's while the host's clock is off."""
