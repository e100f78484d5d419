"""The outputs of all epochs of a process: send queue and still maker."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.output.mux import MP4, Muxer
from districam_ingest.output.send_queue import SendQueue
from districam_ingest.output.stills import StillMaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Sinks:
    """Outputs and identity shared by all epochs of a process; `instance` is the sender named in events."""

    send_queue: SendQueue
    stills: StillMaker
    instance: str
    host_clock: HostClock
    now_us: Callable[[], int]
    """Current wall time, µs UTC; corrected to the brokers' time while the host's clock is wrong."""
    muxer: Muxer = MP4
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    """Randomness of epoch ids."""
