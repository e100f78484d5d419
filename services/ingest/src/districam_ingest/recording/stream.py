"""One connection's pictures into epochs: where one begins, why it ends, and what is told of it."""

from typing import Final

from districam_common.contract.events import Camera, Cause
from districam_ingest.clocks.host_clock import TOLERATED_US
from districam_ingest.clocks.loop_watch import STALL_US
from districam_ingest.codec.nal import BitstreamError
from districam_ingest.readers.reading import ReadError, Source
from districam_ingest.recording.budget import Budget
from districam_ingest.recording.epoch import REPEAT_US, Epoch
from districam_ingest.recording.fragmenter import Cuts
from districam_ingest.recording.gate import Ends, Gate, Repeats, Starts, Step, Takes
from districam_ingest.recording.hearing import hearing_of
from districam_ingest.recording.surroundings import Surroundings, refuse
from districam_ingest.units import Picture

KEYFRAME_WAIT_US: Final = 10_000_000
REACH_US: Final = 30_000_000
"""Of old pictures cameras send some GOPs on connecting. An epoch of more would lie over what was recorded before."""
AHEAD: Final = "its timestamps ran ahead in its first second"
TOO_MANY: Final = "it begins anew too often: its parameters or its timestamps keep changing"
STOOD_STILL: Final = "this process stood still"
FAILINGS: frozenset[Cause] = frozenset({"source_silent", "camera_unreachable", "handover"})
"""What a camera, or the group, seems to do while nobody reads."""


class Stream:
    """One connection's pictures into epochs.

    Args:
        budget: the camera's, which goes from one connection to the next.
    """

    def __init__(
        self, camera: Camera, source: Source, around: Surroundings, budget: Budget | None = None
    ) -> None:
        self._camera, self._source, self._around = camera, source, around
        self._budget = budget or Budget()
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
        self._is_young = False  # the epoch's time is not known yet
        self._waiting_us: int | None = None  # since when pictures come and none is a keyframe
        self._repeated_us = around.clock.monotonic_us()

    def take(self, pictures: list[Picture]) -> None:
        """Pictures as they come, in decode order.

        Raises:
            ReadError: there is no use in reading on.
        """
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
        if len(steps) > 1:
            self._pass_over(steps, picture)
            return
        match steps[0]:
            case Takes() as taken:
                self._take(taken)
            case Repeats():
                pass
            case _:
                self._wait(picture)

    def _pass_over(self, steps: list[Step], picture: Picture) -> None:
        """An epoch ends, or one begins, or both with one picture: the new one is made before anything is said of the old."""
        following: Epoch | None = None
        problem: BitstreamError | None = None
        if any(isinstance(step, Starts) for step in steps):
            self._begin_no_more_than_may_be(steps, picture.arrival_us)
        for step in steps:
            if isinstance(step, Starts):
                try:
                    following = self._epoch_of(step)
                except BitstreamError as error:
                    problem = error
        for step in steps:
            match step:
                case Ends():
                    self._break(step, interrupted=following is None)
                case Takes():
                    self._take(step)
                case Starts():
                    if following is None:
                        raise ReadError("stream_error", str(problem)) from problem
                    self._begin(following)
                case _:
                    self._wait(picture)

    def _begin_no_more_than_may_be(self, steps: list[Step], now_us: int) -> None:
        """Raises ReadError, once the epoch before has ended, if as many have begun as may."""
        if self._budget.epochs.take(now_us):
            return
        for step in steps:
            if isinstance(step, Ends):
                self._break(Ends("stream_error", TOO_MANY, step.interval_us), interrupted=True)
        raise ReadError("stream_error", TOO_MANY)

    def _epoch_of(self, start: Starts) -> Epoch:
        return Epoch(
            self._camera,
            self._source.info,
            start,
            self._cuts,
            self._around.outlets,
            budget=self._budget,
            soundtrack=self._hearing.track if self._hearing is not None else None,
        )

    def _begin(self, epoch: Epoch) -> None:
        if self._hearing is not None:
            self._hearing.track.begin()  # the epoch before has had its rest of the sound
        self._epoch, self._is_young = epoch, True
        self._waiting_us = None
        self._repeated_us = self._around.clock.monotonic_us()

    def _take(self, taken: Takes) -> None:
        if self._epoch is None:
            return
        if self._is_young and self._reaches_too_far(self._epoch, taken):
            self.end("stream_error", AHEAD, 0.0)
            self._judge(taken.picture)
            return
        self._epoch.take(taken)
        if self._epoch.excess is not None:
            raise ReadError("stream_error", self._epoch.excess)
        strays_us = self._epoch.strays_us
        if strays_us is None:
            return
        # Behind a pause of the machine it is our clock that stood still, and what the socket had kept seems to come early.
        cause: Cause = "service_down" if self._follows_standstill(self._epoch) else "stream_error"
        late = self._epoch.withdraw()
        self.end(cause, f"its media clock is off by {strays_us / 1e6:.1f} s", 0.0)
        for picture in late:  # they are the next epoch's, from a keyframe on
            self._judge(picture)

    def _reaches_too_far(self, epoch: Epoch, taken: Takes) -> bool:
        self._is_young = not epoch.is_anchored
        return epoch.reaches_us(taken) > REACH_US and not self._follows_standstill(epoch)

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
        epoch, host_clock = self._epoch, self._around.outlets.outbox.host_clock
        if epoch is None:
            return
        if not epoch.is_anchored:
            epoch.follow_clock()
            return
        step_us = host_clock.offset_us - epoch.offset_us
        if abs(step_us) > TOLERATED_US and not host_clock.in_doubt:
            # If the machine was paused, it is the monotonic clock that is behind: nobody's clock was wrong.
            cause: Cause = "service_down" if self._follows_standstill(epoch) else "clock_step"
            self.end(cause, f"our clock moved by {step_us / 1e6:.1f} s", 0.0)

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
