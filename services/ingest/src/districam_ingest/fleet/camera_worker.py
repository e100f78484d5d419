"""Records one camera: open, read, back off, retry. A failure never affects another camera."""

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
from districam_ingest.readers.reader import ReadError, Source
from districam_ingest.recording.camera_context import CameraContext, report_refused
from districam_ingest.recording.rate_limits import CameraRateLimits
from districam_ingest.recording.stream import STALL_DETAIL, Stream

log = structlog.get_logger()

BACKOFF_RESET_US = 60_000_000
"""A connection that has delivered pictures for this long resets the back-off."""


def has_same_stream_settings(one: Camera, other: Camera) -> bool:
    """True if changing one record to the other needs no restart of the stream; other fields may change while it runs."""
    return _stream_settings(one) == _stream_settings(other)


def _stream_settings(camera: Camera) -> tuple[object, ...]:
    connection = (camera.url, camera.credential, camera.transport, camera.reader)
    return (*connection, camera.audio, camera.segment_s, camera.keyframe_interval_s)


class CameraWorker:
    """Records one camera until it is stopped.

    Attributes:
        camera: its record; may be replaced by one for which `has_same_stream_settings` holds.
    """

    def __init__(self, camera: Camera, context: CameraContext) -> None:
        self.camera = camera
        self._context = context
        self._stop_cause: tuple[Cause, str] = ("service_down", "ingest stopped unexpectedly")
        self._rate_limits = CameraRateLimits()
        self._has_failed_to_open = False  # whether the last attempt to open failed
        self._delays = self._new_delays()
        self._delay_s = 0.0

    def set_stop_cause(self, cause: Cause, detail: str) -> None:
        """Sets the cause that the `lost` event reports when the task that runs this is cancelled."""
        self._stop_cause = (cause, detail)

    async def run(self) -> None:
        """Connects and reconnects until cancelled; call `set_stop_cause` first."""
        while True:
            self._delay_s = next(self._delays)
            await self._run_connection()
            await asyncio.sleep(self._retry_s())

    def _new_delays(self) -> Iterator[float]:
        settings = self._context.settings
        return delays(settings.retry_first_s, settings.retry_most_s, random=SystemRandom().random)

    def _restart_backoff(self) -> None:
        self._delays = self._new_delays()
        self._delay_s = next(self._delays)

    def _retry_s(self) -> float:
        """Seconds until the next attempt: the back-off, but not before the rate limit allows another epoch."""
        return max(self._delay_s, self._rate_limits.epochs.compute_delay_us(self._context.clock.monotonic_us()) / 1e6)

    async def _run_connection(self) -> None:
        """Opens the stream and reads until something ends it."""
        try:
            async with self._open_source() as source:
                await self._run_stream(source)
        except ReadError as error:
            self._report_refused(error.cause, error.detail)
        except Fatal:
            raise
        except Exception as error:  # a bug, or a malicious stream that triggers one: only this camera may fail
            log.exception("camera failed", camera_id=self.camera.camera_id)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from None  # else the TaskGroup would cancel the other cameras too
            self._report_refused("stream_error", f"internal error in ingest: {type(error).__name__}")

    @asynccontextmanager
    async def _open_source(self) -> AsyncGenerator[Source]:
        context, camera = self._context, self.camera
        reader = context.readers_by_name.get(camera.reader, context.reader)
        source_context = reader.open(
            camera.url, self._find_credential(), transport=camera.transport, with_audio=camera.audio
        )
        try:
            # The timeout starts once a slot is acquired: waiting for a slot is not the camera's fault.
            async with (
                context.open_limiter.acquire(is_failing=self._has_failed_to_open),
                asyncio.timeout(context.settings.open_s + 1),
            ):
                self._has_failed_to_open = True
                source = await source_context.__aenter__()
                self._has_failed_to_open = False
        except TimeoutError:
            raise ReadError("camera_unreachable", f"stream not opened within {context.settings.open_s:g} s") from None
        try:
            yield source
        finally:
            await source_context.__aexit__(None, None, None)

    def _find_credential(self) -> Credential | None:
        name = self.camera.credential
        if not name:
            return None
        try:
            found = self._context.credentials.find(name)
        except Retriable as error:
            raise ReadError("auth_failed", str(error)) from error
        if found is None:
            raise ReadError("auth_failed", f"no credential named {name!r} in ingest's credentials file: add it there")
        return found

    async def _run_stream(self, source: Source) -> None:
        """Reads until the stream ends.

        Raises:
            ReadError: the stream failed while no epoch was running: `refused` is still to be sent.
        """
        stream = Stream(self.camera, source, self._context, self._rate_limits)
        try:
            await self._read_until_closed(source, stream)
        except ReadError:
            raise
        except Exception:
            stream.abort("stream_error", "internal error in ingest while processing the stream", self._retry_s())
            raise

    async def _read_until_closed(self, source: Source, stream: Stream) -> None:
        try:
            await self._run_reads(source, stream)
        except ReadError as error:
            if not stream.close(error.cause, error.detail, self._retry_s()):
                raise
            metrics.RECONNECTS.labels(self.camera.camera_id, error.cause).inc()
        except asyncio.CancelledError:
            with suppress(ReadError):
                stream.feed(source.read_remaining())
            stream.close(*self._stop_cause, 0.0)
            raise

    async def _run_reads(self, source: Source, stream: Stream) -> None:
        """Reads until the stream fails, or is silent for `silence_s` without a stall of this process.

        Rescheduling the deadline per read would cost more than the read, so it may fire up to 10 % late.
        """
        clock, silence_s = self._context.clock, self._context.settings.silence_s
        timeout_s = silence_s * 1.1
        last_read_us = rescheduled_us = clock.monotonic_us()
        backoff_reset_us = 0  # when the back-off is reset: a minute after the first picture
        while True:
            try:
                async with asyncio.timeout(timeout_s) as deadline:
                    while True:
                        stream.feed(await source.read())
                        last_read_us = clock.monotonic_us()
                        backoff_reset_us = backoff_reset_us or last_read_us + BACKOFF_RESET_US
                        if last_read_us - rescheduled_us > silence_s * 1e5:
                            rescheduled_us = last_read_us
                            if last_read_us >= backoff_reset_us:
                                self._restart_backoff()
                            deadline.reschedule(asyncio.get_running_loop().time() + timeout_s)
            except ReadError as error:  # a stall of this process also makes the reader's own deadline pass
                if error.cause == "source_silent" and self._context.stall_detector.has_stalled_since(last_read_us):
                    raise ReadError("service_down", STALL_DETAIL) from error
                raise
            except TimeoutError:
                stream.republish_if_due()
                if not self._context.stall_detector.has_stalled_since(last_read_us):
                    raise ReadError("source_silent", f"connected, but no picture for {silence_s:g} s") from None
                last_read_us = clock.monotonic_us()

    def _report_refused(self, cause: Cause, detail: str) -> None:
        metrics.CONNECTED.labels(self.camera.camera_id).set(0)  # also if it has never connected: the series must exist
        metrics.RECONNECTS.labels(self.camera.camera_id, cause).inc()
        report_refused(self.camera, self._context, cause, detail, self._retry_s())
