"""Where a camera's fragments, events and stills go, and under whose name."""

from collections.abc import Callable
from dataclasses import dataclass

from districam_ingest.output.publish import Outbox
from districam_ingest.output.stills import Stills


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlets:
    """What every epoch of a process shares."""

    outbox: Outbox
    stills: Stills
    instance: str
    now_us: Callable[[], int]
    """Wall time, the broker's while the host's clock is off."""
