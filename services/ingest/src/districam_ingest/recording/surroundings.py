"""What every camera of a process shares, and how it is told that one of them gives no epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from districam_common.contract.events import Camera, Cause, Refused
from districam_common.runtime.clock import Clock
from districam_common.runtime.credentials import Credentials
from districam_ingest.clocks.loop_watch import LoopWatch
from districam_ingest.output.g711 import Transcoders
from districam_ingest.output.outlets import Outlets
from districam_ingest.readers.reading import Reader
from districam_ingest.recording.turns import Turns
from districam_ingest.settings import IngestSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every camera of a process shares.

    Attributes:
        reader: opens cameras whose record leaves the reader to us.
        forced: the readers that a record may ask for, by their names there.
    """

    reader: Reader
    credentials: Credentials
    outlets: Outlets
    turns: Turns
    watch: LoopWatch
    clock: Clock
    settings: IngestSettings
    forced: Mapping[str, Reader] = field(default_factory=dict[str, Reader])
    transcoders: Transcoders | None = None


def refuse(camera: Camera, around: Surroundings, cause: Cause, detail: str, next_retry_s: float) -> None:
    """Tells that no epoch came about."""
    outlets = around.outlets
    event = Refused(
        camera_id=camera.camera_id,
        at_us=outlets.now_us(),
        instance=outlets.instance,
        cause=cause,
        detail=detail,
        next_retry_s=next_retry_s,
    )
    outlets.outbox.offer_event(camera.camera_id, event)
    log.warning(
        "stream refused", camera=camera.camera_id, cause=cause, detail=detail, next_retry_s=next_retry_s
    )
