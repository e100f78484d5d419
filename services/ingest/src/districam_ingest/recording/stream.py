"""Turns one connection's pictures into epochs, and decides with which cause and detail each one ends."""

from typing import Final

from districam_common.contract.events import Camera, Cause
from districam_ingest.clocks.host_clock import MAX_SKEW_US
from districam_ingest.clocks.stall_detector import STALL_US
from districam_ingest.codec.nal import BitstreamError
from districam_ingest.readers.reader import ReadError, Source
from districam_ingest.recording.audio_pipeline import create_audio_pipeline
from districam_ingest.recording.camera_context import CameraContext, report_refused
from districam_ingest.recording.epoch import REPUBLISH_INTERVAL_US, Epoch
from districam_ingest.recording.epoch_id import epoch_id
from districam_ingest.recording.epoch_splitter import Append, Decision, Duplicate, End, EpochSplitter, Start
from districam_ingest.recording.fragmenter import FragmentLimits
from districam_ingest.recording.rate_limits import CameraRateLimits
from districam_ingest.units import Picture

MAX_KEYFRAME_WAIT_US: Final = 10_000_000
"""Pictures without a keyframe for this long are reported by `refused`."""
MAX_AHEAD_US: Final = 30_000_000
"""Cameras send some GOPs of old pictures on connecting. More of them would overlap what was recorded before."""
AHEAD_DETAIL: Final = "timestamps ran ahead of the arrivals in the epoch's first second"
TOO_MANY_EPOCHS_DETAIL: Final = "too many restarts: parameter sets or timestamps keep changing"
STALL_DETAIL: Final = "the ingest process was stalled or paused"
STALL_EXPLAINED_CAUSES: frozenset[Cause] = frozenset({"source_silent", "camera_unreachable", "handover"})
"""Causes that a stall of this process can produce although the camera and the group are fine."""


class Stream:
    """Turns one connection's pictures into epochs.

    Args:
        rate_limits: the camera's, shared by its successive connections.
    """

    def __init__(
        self, camera: Camera, source: Source, context: CameraContext, rate_limits: CameraRateLimits | None = None
    ) -> None:
        self._camera, self._source, self._context = camera, source, context
        self._rate_limits = rate_limits or CameraRateLimits()
        settings = context.settings
        self._limits = FragmentLimits(
            segment_us=camera.segment_s * 1_000_000,
            fragment_max_us=round(settings.fragment_max_s * 1e6),
            fragment_max_bytes=settings.fragment_max_bytes,
            segment_max_us=round(settings.segment_max_s * 1e6),
        )
        self._splitter = EpochSplitter(source.info.codec, source.info.parameter_sets)
        self._audio = create_audio_pipeline(source, context.transcoders)
        self._epoch: Epoch | None = None
        self._is_unanchored = False  # whether the epoch's wall-clock time is still undetermined
        self._no_keyframe_since_us: int | None = None  # arrival of the first picture that waits for a keyframe
        self._republished_us = context.clock.monotonic_us()

    def feed(self, pictures: list[Picture]) -> None:
        """Takes pictures as they arrive, in decode order.

        Raises:
            ReadError: the connection is to be closed.
        """
        self._check_host_clock()
        self.republish_if_due()
        self._forward_audio()
        for picture in pictures:
            self._feed_splitter(picture)

    def close(self, cause: Cause, detail: str, next_retry_s: float) -> bool:
        """Ends the running epoch, if any. Returns False if `cause` was not reported.

        That is so if no epoch is running, or if the camera failed right after a stall of this process: the epoch then
        ends with `service_down`, since the stall came first, and the caller has yet to report the camera's failure.
        """
        epoch = self._epoch
        if epoch is None:
            return False
        self._forward_audio()
        interval_us = self._splitter.interval_us
        self._splitter.close_epoch()
        if cause in STALL_EXPLAINED_CAUSES and self._follows_stall(epoch):
            self._close_epoch(epoch, End("service_down", STALL_DETAIL, interval_us))
            return False
        return self._close_epoch(epoch, End(cause, detail, interval_us), next_retry_s)

    def abort(self, cause: Cause, detail: str, next_retry_s: float) -> None:
        """Ends the running epoch and discards its pending pictures."""
        if self._epoch is not None:
            self._epoch.abort(cause, detail, next_retry_s=next_retry_s)
            self._epoch = None

    def republish_if_due(self) -> None:
        """Repeats `connected` every hour."""
        now_us = self._context.clock.monotonic_us()
        if self._epoch is not None and now_us - self._republished_us >= REPUBLISH_INTERVAL_US:
            self._republished_us = now_us
            self._epoch.republish_connected()

    def _forward_audio(self) -> None:
        if self._audio is not None:
            self._audio.forward()

    def _feed_splitter(self, picture: Picture) -> None:
        decisions = self._splitter.decide(picture)
        if len(decisions) > 1:
            self._apply_transition(decisions, picture)
            return
        match decisions[0]:
            case Append() as appended:
                self._append(appended)
            case Duplicate():
                pass
            case _:
                self._handle_missing_keyframe(picture)

    def _apply_transition(self, decisions: list[Decision], picture: Picture) -> None:
        """Ends an epoch, starts one, or both. The new one is created before the old one's end is reported as interrupted."""
        next_epoch: Epoch | None = None
        problem: BitstreamError | None = None
        if any(isinstance(decision, Start) for decision in decisions):
            self._acquire_epoch(decisions, picture.arrival_us)
        for decision in decisions:
            if isinstance(decision, Start):
                try:
                    next_epoch = self._create_epoch(decision)
                except BitstreamError as error:
                    problem = error
        for decision in decisions:
            match decision:
                case End():
                    self._handle_end(decision, interrupted=next_epoch is None)
                case Append():
                    self._append(decision)
                case Start():
                    if next_epoch is None:
                        raise ReadError("stream_error", str(problem)) from problem
                    self._start_epoch(next_epoch)
                case _:
                    self._handle_missing_keyframe(picture)

    def _acquire_epoch(self, decisions: list[Decision], now_us: int) -> None:
        """Counts the start of an epoch.

        Raises:
            ReadError: too many epochs were started; the previous one has been ended.
        """
        if self._rate_limits.epochs.try_acquire(now_us):
            return
        for decision in decisions:
            if isinstance(decision, End):
                self._handle_end(End("stream_error", TOO_MANY_EPOCHS_DETAIL, decision.interval_us), interrupted=True)
        raise ReadError("stream_error", TOO_MANY_EPOCHS_DETAIL)

    def _create_epoch(self, start: Start) -> Epoch:
        sinks = self._context.sinks
        return Epoch(
            self._camera,
            self._source.info,
            start,
            self._limits,
            sinks,
            epoch_id=epoch_id(sinks.now_us(), sinks.random_bytes(10)),
            rate_limits=self._rate_limits,
            audio_sync=self._audio.audio_sync if self._audio is not None else None,
        )

    def _start_epoch(self, epoch: Epoch) -> None:
        if self._audio is not None:
            self._audio.audio_sync.reset()  # the previous epoch has drained the rest of its audio
        self._epoch, self._is_unanchored = epoch, True
        self._no_keyframe_since_us = None
        self._republished_us = self._context.clock.monotonic_us()

    def _append(self, appended: Append) -> None:
        if self._epoch is None:
            return
        if self._is_unanchored and self._is_too_far_ahead(self._epoch, appended):
            self.close("stream_error", AHEAD_DETAIL, 0.0)
            self._feed_splitter(appended.picture)
            return
        self._epoch.feed(appended)
        if self._epoch.exceeded_limit is not None:
            raise ReadError("stream_error", self._epoch.exceeded_limit)
        deviation_us = self._epoch.deviation_us
        if deviation_us is None:
            return
        # After a pause of the machine our monotonic clock is behind, and pictures buffered by the socket seem early.
        cause: Cause = "service_down" if self._follows_stall(self._epoch) else "stream_error"
        pending_pictures = self._epoch.discard()
        self.close(cause, f"media clock deviates from the wall clock by {deviation_us / 1e6:.1f} s", 0.0)
        for picture in pending_pictures:  # they belong to the next epoch, from a keyframe on
            self._feed_splitter(picture)

    def _is_too_far_ahead(self, epoch: Epoch, appended: Append) -> bool:
        self._is_unanchored = not epoch.is_anchored
        return epoch.compute_ahead_us(appended) > MAX_AHEAD_US and not self._follows_stall(epoch)

    def _handle_end(self, end: End, *, interrupted: bool) -> None:
        epoch = self._epoch
        if epoch is None:
            return
        stall_detector = self._context.stall_detector
        is_silence = end.cause == "source_silent" and stall_detector.has_stalled_since(epoch.last_arrival_us)
        if is_silence or (end.is_timestamp_jump and self._follows_stall(epoch)):
            end = End("service_down", STALL_DETAIL, end.interval_us)
        self._close_epoch(epoch, end, interrupted=interrupted)

    def _follows_stall(self, epoch: Epoch) -> bool:
        """True if its last pictures arrived right after a stall of this process: the socket had buffered them."""
        return self._context.stall_detector.has_stalled_since(epoch.last_arrival_us - STALL_US)

    def _close_epoch(self, epoch: Epoch, end: End, next_retry_s: float = 0.0, *, interrupted: bool = True) -> bool:
        """Returns False if nothing was reported: pictures that arrived all at once after a stall have no known time."""
        self._source.use_precise_arrival()
        cause, detail, has_published = end.cause, end.detail, True
        if not epoch.is_anchored and self._follows_stall(epoch):
            has_published = epoch.abort(cause, detail, next_retry_s=next_retry_s, interrupted=interrupted)
        else:
            epoch.close(cause, detail, interval_us=end.interval_us, next_retry_s=next_retry_s, interrupted=interrupted)
        self._epoch = None  # last: if the above fails, `abort` still has to end it
        return has_published

    def _check_host_clock(self) -> None:
        epoch, host_clock = self._epoch, self._context.sinks.host_clock
        if epoch is None:
            return
        if not epoch.is_anchored:
            epoch.update_offset()
            return
        step_us = host_clock.offset_us - epoch.offset_us
        if abs(step_us) > MAX_SKEW_US and not host_clock.is_uncertain:
            # After a pause of the machine the monotonic clock is behind: the wall clock has not stepped.
            cause: Cause = "service_down" if self._follows_stall(epoch) else "clock_step"
            self.close(cause, f"the host's clock stepped by {step_us / 1e6:.1f} s", 0.0)

    def _handle_missing_keyframe(self, picture: Picture) -> None:
        if self._no_keyframe_since_us is None:
            self._no_keyframe_since_us = picture.arrival_us
        elif picture.arrival_us - self._no_keyframe_since_us >= MAX_KEYFRAME_WAIT_US:
            # After a stall of this process the delay was ours, not the camera's.
            has_stalled = self._context.stall_detector.has_stalled_since(self._no_keyframe_since_us)
            self._no_keyframe_since_us = picture.arrival_us
            if not has_stalled:
                wait_s = MAX_KEYFRAME_WAIT_US / 1e6
                report_refused(self._camera, self._context, "stream_error", f"no keyframe for {wait_s:g} s", wait_s)
