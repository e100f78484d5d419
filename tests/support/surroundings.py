"""What a camera's life in ingest is given, around whatever a test puts in the place of Kafka and of cameras."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from districam_common.runtime.clock import Clock, SystemClock
from districam_common.runtime.credentials import Credentials
from districam_ingest.clocks.loop_watch import LoopWatch
from districam_ingest.output.outlets import Outlets
from districam_ingest.recording.surroundings import Surroundings
from districam_ingest.recording.turns import Turns
from districam_ingest.settings import IngestSettings

if TYPE_CHECKING:
    from districam_ingest.output.publish import Outbox
    from districam_ingest.output.stills import Stills
    from districam_ingest.readers.reading import Reader


def surroundings(
    outbox: object,
    *,
    reader: object = None,
    stills: object = None,
    clock: Clock | None = None,
    now_us: Callable[[], int] | None = None,
    credentials: Path | None = None,
    settings: IngestSettings | None = None,
    instance: str = "test",
) -> Surroundings:
    """`outbox`, `reader` and `stills` stand for ingest's own; the time is the system's, unless a clock is given."""
    clock, settings = clock or SystemClock(), settings or IngestSettings()
    return Surroundings(
        reader=cast("Reader", reader),
        credentials=Credentials(credentials),
        outlets=Outlets(
            outbox=cast("Outbox", outbox),
            stills=cast("Stills", stills),
            instance=instance,
            now_us=now_us or clock.now_us,
        ),
        turns=Turns(settings.opening_at_once),
        watch=LoopWatch(clock),
        clock=clock,
        settings=settings,
    )
