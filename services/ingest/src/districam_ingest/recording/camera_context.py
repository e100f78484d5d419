"""Dependencies shared by all cameras of a process, and the report of a failed attempt to record."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from districam_common.contract.events import Camera, Cause, Refused
from districam_common.runtime.clock import Clock
from districam_common.runtime.credentials import Credentials
from districam_ingest.clocks.stall_detector import StallDetector
from districam_ingest.output.g711 import TranscoderPool
from districam_ingest.output.sinks import Sinks
from districam_ingest.readers.reader import Reader
from districam_ingest.recording.open_limiter import OpenLimiter
from districam_ingest.settings import IngestSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraContext:
    """Dependencies shared by all cameras of a process.

    Attributes:
        reader: the reader for cameras whose record names none.
        readers_by_name: the readers that a camera record may name.
    """

    reader: Reader
    credentials: Credentials
    sinks: Sinks
    open_limiter: OpenLimiter
    stall_detector: StallDetector
    clock: Clock
    settings: IngestSettings
    readers_by_name: Mapping[str, Reader] = field(default_factory=dict[str, Reader])
    transcoders: TranscoderPool | None = None


def report_refused(camera: Camera, context: CameraContext, cause: Cause, detail: str, next_retry_s: float) -> None:
    """Sends `refused`: an attempt ended without starting an epoch."""
    sinks = context.sinks
    event = Refused(
        camera_id=camera.camera_id,
        at_us=sinks.now_us(),
        instance=sinks.instance,
        cause=cause,
        detail=detail,
        next_retry_s=next_retry_s,
    )
    sinks.send_queue.put_event(camera.camera_id, event)
    log.warning("stream refused", camera_id=camera.camera_id, cause=cause, detail=detail, next_retry_s=next_retry_s)
