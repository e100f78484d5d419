"""Builds the context of a camera in ingest around a test's replacements of Kafka and cameras."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from districam_common.runtime.clock import Clock, SystemClock
from districam_common.runtime.credentials import Credentials
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.clocks.stall_detector import StallDetector
from districam_ingest.output.mux import MP4, Muxer
from districam_ingest.output.sinks import Sinks
from districam_ingest.recording.camera_context import CameraContext
from districam_ingest.recording.open_limiter import OpenLimiter
from districam_ingest.settings import IngestSettings

if TYPE_CHECKING:
    from districam_ingest.output.send_queue import SendQueue
    from districam_ingest.output.stills import StillMaker
    from districam_ingest.readers.reader import Reader


def make_context(
    send_queue: object,
    *,
    reader: object = None,
    stills: object = None,
    clock: Clock | None = None,
    now_us: Callable[[], int] | None = None,
    credentials: Path | None = None,
    settings: IngestSettings | None = None,
    instance: str = "test",
    muxer: Muxer = MP4,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> CameraContext:
    """`send_queue`, `reader` and `stills` replace ingest's own; the clock is the system's by default."""
    clock, settings = clock or SystemClock(), settings or IngestSettings()
    return CameraContext(
        reader=cast("Reader", reader),
        credentials=Credentials(credentials),
        sinks=Sinks(
            send_queue=cast("SendQueue", send_queue),
            stills=cast("StillMaker", stills),
            instance=instance,
            host_clock=getattr(send_queue, "host_clock", None) or HostClock(),
            now_us=now_us or clock.now_us,
            muxer=muxer,
            random_bytes=random_bytes,
        ),
        open_limiter=OpenLimiter(settings.opening_at_once),
        stall_detector=StallDetector(clock),
        clock=clock,
        settings=settings,
    )
