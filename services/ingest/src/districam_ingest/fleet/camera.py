"""One camera's life: open, read, cut, fail, wait, again. What happens to it never touches another camera."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from random import SystemRandom

import structlog

from districam_common.contract.events import Camera, Cause
from districam_common.errors import Fatal, Retriable
from districam_common.runtime.backoff import delays
from districam_common.runtime.credentials import Credential
from districam_ingest import metrics
from districam_ingest.readers.reading import ReadError, Source
from districam_ingest.recording.budget import Budget
from districam_ingest.recording.stream import STOOD_STILL, Stream
from districam_ingest.recording.surroundings import Surroundings, refuse

log = structlog.get_logger()

GOOD_US = 60_000_000
"""A connection that delivered pictures for so long starts the back-off over."""


def asks_the_same(one: Camera, other: Camera) -> bool:
    """Whether a stream under the one record is as the other wants it: all else may change while it runs."""
    return _asked(one) == _asked(other)


def _asked(camera: Camera) -> tuple[object, ...]:
    how = (camera.url, camera.credential, camera.transport, camera.reader)
    return (*how, camera.audio, camera.segment_s, camera.keyframe_interval_s)


class CameraLife:
    """Records one camera until it is stopped.

    Attributes:
        camera: its record, to be replaced by one that asks the same.
    """

    def __init__(self, camera: Camera, around: Surroundings) -> None:
        self.camera = camera
        self._around = around
        self._stop: tuple[Cause, str] = ("service_down", "the service broke")
        self._budget = Budget()
        self._is_failing = False  # the last opening came to nothing
        self._delays = self._new_delays()
        self._delay_s = 0.0

    def explain(self, cause: Cause, detail: str) -> None:
        """Why the task that runs this will be cancelled; said in `lost`."""
        self._stop = (cause, detail)

    async def run(self) -> None:
        """Connects for ever; to be stopped by `explain` and cancelling."""
        while True:
            self._delay_s = next(self._delays)
            await self._connect()
            await asyncio.sleep(self._retry_s())

    def _new_delays(self) -> Iterator[float]:
        settings = self._around.settings
        return delays(settings.retry_first_s, settings.retry_most_s, random=SystemRandom().random)

    def _restart_backoff(self) -> None:
        self._delays = self._new_delays()
        self._delay_s = next(self._delays)

    def _retry_s(self) -> float:
        """Seconds from the end of this connection to the next attempt: before another epoch may begin there is no use in one."""
        return max(self._delay_s, self._budget.epochs.wait_us(self._around.clock.monotonic_us()) / 1e6)

    async def _connect(self) -> None:
        """Opens the stream and reads until something ends it."""
        try:
            async with self._opened() as source:
                await self._stream(source)
        except ReadError as error:
            self._refuse(error.cause, error.detail)
        except Fatal:
            raise
        except Exception as error:  # a bug, or a stream made to find one: it shall cost this camera alone
            log.exception("camera failed", camera=self.camera.camera_id)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from None  # it was to end, and no other with it
            self._refuse("stream_error", f"{type(error).__name__} in ingest")

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Source]:
        around, camera = self._around, self.camera
        reader = around.forced.get(camera.reader, around.reader)
        opening = reader.open(
            camera.url, self._credential(), transport=camera.transport, with_sound=camera.audio
        )
        try:
            # The deadline counts from our turn on: what waits for others is not the camera's fault.
            async with (
                around.turns.turn(is_failing=self._is_failing),
                asyncio.timeout(around.settings.open_s + 1),
            ):
                self._is_failing = True
                source = await opening.__aenter__()
                self._is_failing = False
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

    async def _stream(self, source: Source) -> None:
        """Reads until the stream ends. A `ReadError` that leaves says that no epoch was running."""
        stream = Stream(self.camera, source, self._around, self._budget)
        try:
            await self._read_to_its_end(source, stream)
        except ReadError:
            raise
        except Exception:
            stream.abandon("stream_error", "the stream broke ingest", self._retry_s())
            raise

    async def _read_to_its_end(self, source: Source, stream: Stream) -> None:
        try:
            await self._read(source, stream)
        except ReadError as error:
            if not stream.end(error.cause, error.detail, self._retry_s()):
                raise
            metrics.RECONNECTS.labels(self.camera.camera_id, error.cause).inc()
        except asyncio.CancelledError:
            with suppress(ReadError):
                stream.take(source.rest())
            stream.end(*self._stop, 0.0)
            raise

    async def _read(self, source: Source, stream: Stream) -> None:
        """Reads until the stream is over, or silent while this process was not standing still.

        Moving the deadline for each read would cost more than reading: it is a tenth late at most.
        """
        clock, silence_s = self._around.clock, self._around.settings.silence_s
        limit_s = silence_s * 1.1
        heard_us = moved_us = clock.monotonic_us()
        good_us = 0  # when the back-off starts over: a minute after the first picture
        while True:
            try:
                async with asyncio.timeout(limit_s) as limit:
                    while True:
                        stream.take(await source.read())
                        heard_us = clock.monotonic_us()
                        good_us = good_us or heard_us + GOOD_US
                        if heard_us - moved_us > silence_s * 1e5:
                            moved_us = heard_us
                            if heard_us >= good_us:
                                self._restart_backoff()
                            limit.reschedule(asyncio.get_running_loop().time() + limit_s)
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

    def _refuse(self, cause: Cause, detail: str) -> None:
        metrics.CONNECTED.labels(self.camera.camera_id).set(0)  # also of a camera that has never answered
        metrics.RECONNECTS.labels(self.camera.camera_id, cause).inc()
        refuse(self.camera, self._around, cause, detail, self._retry_s())
