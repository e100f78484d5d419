"""One camera's life: open, read, cut, fail, wait, again. What happens to it never touches another camera."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import SystemRandom

import structlog

from districam_common.backoff import delays
from districam_common.clock import Clock
from districam_common.credentials import Credential, Credentials
from districam_common.errors import Fatal, Retriable
from districam_common.events import Camera, Cause, Refused
from districam_ingest import metrics
from districam_ingest.core.fragmenter import Cuts
from districam_ingest.core.gate import Ends, Gate, Repeats, Starts, Step, Takes
from districam_ingest.core.host_clock import TOLERATED_US
from districam_ingest.core.nal import BitstreamError
from districam_ingest.core.units import Picture
from districam_ingest.epoch import REPEAT_US, Epoch
from districam_ingest.g711 import Transcoders
from districam_ingest.hearing import hearing_of
from districam_ingest.loop_watch import STALL_US, LoopWatch
from districam_ingest.outlets import Outlets
from districam_ingest.reading import Reader, ReadError, Source
from districam_ingest.settings import IngestSettings

log = structlog.get_logger()

GOOD_US = 60_000_000
"""A connection that lasted so long forgives the failures before it."""
KEYFRAME_WAIT_US = 10_000_000
STOOD_STILL = "this process stood still"
FAILINGS: frozenset[Cause] = frozenset({"source_silent", "camera_unreachable"})
"""What a camera seems to do while nobody reads."""


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
    opening: asyncio.Semaphore
    watch: LoopWatch
    clock: Clock
    settings: IngestSettings
    forced: Mapping[str, Reader] = field(default_factory=dict[str, Reader])
    transcoders: Transcoders | None = None


class CameraLife:
    """Records one camera until it is stopped."""

    def __init__(self, camera: Camera, around: Surroundings) -> None:
        self.camera = camera
        self._around = around
        self._stop: tuple[Cause, str] = ("service_down", "the service broke")

    def explain(self, cause: Cause, detail: str) -> None:
        """Why the task that runs this will be cancelled; said in `lost`."""
        self._stop = (cause, detail)

    async def run(self) -> None:
        """Connects for ever; to be stopped by `explain` and cancelling."""
        settings, clock = self._around.settings, self._around.clock
        while True:
            for delay_s in delays(
                settings.retry_first_s, settings.retry_most_s, random=SystemRandom().random
            ):
                began_us = clock.monotonic_us()
                await self._connect(delay_s)
                await asyncio.sleep(delay_s)
                if clock.monotonic_us() - began_us > GOOD_US:
                    break

    async def _connect(self, next_retry_s: float) -> None:
        try:
            async with self._opened() as source:
                await self._stream(source, next_retry_s)
        except ReadError as error:
            self._refuse(error.cause, error.detail, next_retry_s)
        except Fatal:
            raise
        except Exception as error:  # a bug, or a stream made to find one: it shall cost this camera alone
            log.exception("camera failed", camera=self.camera.camera_id)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from None  # it was to end, and no other with it
            self._refuse("stream_error", f"{type(error).__name__} in ingest", next_retry_s)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Source]:
        around, camera = self._around, self.camera
        reader = around.forced.get(camera.reader, around.reader)
        opening = reader.open(
            camera.url, self._credential(), transport=camera.transport, with_sound=camera.audio
        )
        try:
            # The deadline counts from our turn on: what waits for others is not the camera's fault.
            async with around.opening, asyncio.timeout(around.settings.open_s + 1):
                source = await opening.__aenter__()
        except TimeoutError:
            raise ReadError("camera_unreachable", f"not open after {around.settings.open_s:g} s") from None
        try:
            yield source
        finally:
            await opening.__aexit__(None, None, None)

    def _credential(self) -> Credential | None:
        name = self.camera.credential
        if not name:
            return None
        try:
            found = self._around.credentials.find(name)
        except Retriable as error:
            raise ReadError("auth_failed", str(error)) from error
        if found is None:
            raise ReadError("auth_failed", f"no credential named {name!r} in the credentials file")
        return found

    async def _stream(self, source: Source, next_retry_s: float) -> None:
        """Reads until the stream ends. A `ReadError` that leaves says that no epoch was running."""
        stream = Stream(self.camera, source, self._around)
        try:
            await self._read_to_its_end(source, stream, next_retry_s)
        except ReadError:
            raise
        except Exception:
            stream.abandon("stream_error", "the stream broke ingest", next_retry_s)
            raise

    async def _read_to_its_end(self, source: Source, stream: "Stream", next_retry_s: float) -> None:
        try:
            await self._read(source, stream)
        except ReadError as error:
            if not stream.end(error.cause, error.detail, next_retry_s):
                raise
            metrics.RECONNECTS.labels(self.camera.camera_id, error.cause).inc()
        except asyncio.CancelledError:
            with suppress(ReadError):
                stream.take(source.rest())
            stream.end(*self._stop, 0.0)
            raise

    async def _read(self, source: Source, stream: "Stream") -> None:
        """Reads until the stream is over, or silent while this process was not standing still."""
        clock, silence_s = self._around.clock, self._around.settings.silence_s
        heard_us = clock.monotonic_us()
        while True:
            try:
                async with asyncio.timeout(silence_s) as limit:
                    while True:
                        stream.take(await source.read())
                        heard_us = clock.monotonic_us()
                        _extend(limit, silence_s)
            except ReadError as error:  # the reader's own deadline passes in a stall as well
                if error.cause == "source_silent" and self._around.watch.stalled_since(heard_us):
                    raise ReadError("service_down", STOOD_STILL) from error
                raise
            except TimeoutError:
                stream.repeat_when_due()
                if not self._around.watch.stalled_since(heard_us):
                    raise ReadError(
                        "source_silent", f"connected, and no picture for {silence_s:g} s"
                    ) from None
                heard_us = clock.monotonic_us()

    def _refuse(self, cause: Cause, detail: str, next_retry_s: float) -> None:
        metrics.CONNECTED.labels(self.camera.camera_id).set(0)  # also of a camera that has never answered
        metrics.RECONNECTS.labels(self.camera.camera_id, cause).inc()
        refuse(self.camera, self._around, cause, detail, next_retry_s)


def _extend(limit: asyncio.Timeout, silence_s: float) -> None:
    """Lets silence begin anew. Moving a timer for each read would cost more than reading: it is a tenth late at most."""
    now_s, until_s = asyncio.get_running_loop().time(), limit.when()
    if until_s is None or until_s < now_s + silence_s:
        limit.reschedule(now_s + silence_s * 1.1)


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


class Stream:
    """One connection's pictures into epochs."""

    def __init__(self, camera: Camera, source: Source, around: Surroundings) -> None:
        self._camera, self._source, self._around = camera, source, around
        settings = around.settings
        self._cuts = Cuts(
            segment_us=camera.segment_s * 1_000_000,
            fragment_max_us=round(settings.fragment_max_s * 1e6),
            fragment_max_bytes=settings.fragment_max_bytes,
            segment_max_us=round(settings.segment_max_s * 1e6),
        )
        self._gate = Gate(source.info.codec, source.info.sets)
        self._hearing = hearing_of(source, around.transcoders)
        self._epoch: Epoch | None = None
        self._waiting_us: int | None = None  # since when pictures come and none is a keyframe
        self._repeated_us = around.clock.monotonic_us()

    def take(self, pictures: list[Picture]) -> None:
        """Pictures as they come, in decode order."""
        self._follow_clock()
        self.repeat_when_due()
        self._hear()
        for picture in pictures:
            self._judge(picture)

    def end(self, cause: Cause, detail: str, next_retry_s: float) -> bool:
        """Ends the running epoch, and what comes next is in none; False if nothing of this was told.

        There is none, or the camera failed right behind a standstill of this process. What is missing began with us then,
        so the epoch ends with that, and what the camera did is still to be told.
        """
        epoch = self._epoch
        if epoch is None:
            return False
        self._hear()
        interval_us = self._gate.interval_us
        self._gate.end()
        if cause in FAILINGS and self._follows_standstill(epoch):
            self._close(epoch, Ends("service_down", STOOD_STILL, interval_us))
            return False
        return self._close(epoch, Ends(cause, detail, interval_us), next_retry_s)

    def abandon(self, cause: Cause, detail: str, next_retry_s: float) -> None:
        """Ends the running epoch without what it still holds."""
        if self._epoch is not None:
            self._epoch.abandon(cause, detail, next_retry_s=next_retry_s)
            self._epoch = None

    def repeat_when_due(self) -> None:
        """Repeats the event in force every hour."""
        now_us = self._around.clock.monotonic_us()
        if self._epoch is not None and now_us - self._repeated_us >= REPEAT_US:
            self._repeated_us = now_us
            self._epoch.repeat()

    def _hear(self) -> None:
        if self._hearing is not None:
            self._hearing.hear()

    def _judge(self, picture: Picture) -> None:
        steps = self._gate.judge(picture)
        for step in steps:
            self._follow(step, picture, steps)

    def _follow(self, step: Step, picture: Picture, steps: list[Step]) -> None:
        match step:
            case Ends():
                self._break(step, interrupted=not isinstance(steps[-1], Takes))
            case Starts():
                self._start(step)
            case Takes():
                self._take(step)
            case Repeats():
                pass
            case _:
                self._wait(picture)

    def _start(self, start: Starts) -> None:
        try:
            self._epoch = Epoch(
                self._camera,
                self._source.info,
                start,
                self._cuts,
                self._around.outlets,
                soundtrack=self._hearing.track if self._hearing is not None else None,
            )
            self._waiting_us = None
            self._repeated_us = self._around.clock.monotonic_us()
        except BitstreamError as error:
            raise ReadError("stream_error", str(error)) from error

    def _take(self, taken: Takes) -> None:
        if self._epoch is None:
            return
        self._epoch.take(taken)
        strays_us = self._epoch.strays_us
        if strays_us is None:
            return
        late = self._epoch.withdraw()
        self.end("stream_error", f"its media clock is off by {strays_us / 1e6:.1f} s", 0.0)
        for picture in late:  # they are the next epoch's, from a keyframe on
            self._judge(picture)

    def _break(self, ends: Ends, *, interrupted: bool) -> None:
        epoch = self._epoch
        if epoch is None:
            return
        watch = self._around.watch
        is_silence = ends.cause == "source_silent" and watch.stalled_since(epoch.last_arrival_us)
        if is_silence or (ends.leaps and self._follows_standstill(epoch)):
            ends = Ends("service_down", STOOD_STILL, ends.interval_us)
        self._close(epoch, ends, interrupted=interrupted)

    def _follows_standstill(self, epoch: Epoch) -> bool:
        """Whether its last pictures came right behind a standstill of this process: the socket had kept them."""
        return self._around.watch.stalled_since(epoch.last_arrival_us - STALL_US)

    def _close(
        self, epoch: Epoch, ends: Ends, next_retry_s: float = 0.0, *, interrupted: bool = True
    ) -> bool:
        """False if nothing was told: pictures that came all at once behind a standstill, nobody knows when they were taken."""
        self._source.look_closely()
        cause, detail, told = ends.cause, ends.detail, True
        if not epoch.is_anchored and self._follows_standstill(epoch):
            told = epoch.abandon(cause, detail, next_retry_s=next_retry_s, interrupted=interrupted)
        else:
            epoch.end(
                cause,
                detail,
                interval_us=ends.interval_us,
                next_retry_s=next_retry_s,
                interrupted=interrupted,
            )
        self._epoch = None  # not before: what breaks in between leaves it to be abandoned
        return told

    def _follow_clock(self) -> None:
        if self._epoch is None:
            return
        step_us = self._around.outlets.outbox.host_clock.offset_us - self._epoch.offset_us
        if abs(step_us) > TOLERATED_US:
            self.end("clock_step", f"our clock moved by {step_us / 1e6:.1f} s", 0.0)

    def _wait(self, picture: Picture) -> None:
        if self._waiting_us is None:
            self._waiting_us = picture.arrival_us
        elif picture.arrival_us - self._waiting_us >= KEYFRAME_WAIT_US:
            stood_still = self._around.watch.stalled_since(
                self._waiting_us
            )  # then it was we who kept them waiting
            self._waiting_us = picture.arrival_us
            if not stood_still:
                wait_s = KEYFRAME_WAIT_US / 1e6
                refuse(self._camera, self._around, "stream_error", f"no keyframe for {wait_s:g} s", wait_s)
