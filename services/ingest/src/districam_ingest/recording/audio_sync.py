"""Places audio on the epoch's media clock. Audio follows video: nothing here ends, moves or delays a picture.

Audio and video have separate RTP clocks. RTCP sender reports of both relate the two if they agree with the arrival
times to within `MAX_REPORT_DEVIATION_US`; otherwise the least delayed arrivals of both do. Later drift is corrected
gradually (1 part in `SLEW_DIVISOR`); only after a gap in the audio may its position jump.

A player stalls on a track that has nothing to play, pictures included, so silence is inserted where audio is missing.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from districam_common.contract import ticks
from districam_common.mp4.writer import AudioSample
from districam_ingest.codec.aac import AudioParameters
from districam_ingest.units import AudioUnit, Picture

MAX_PENDING_UNITS = 2048
"""Audio units that may wait for their pictures; beyond it the oldest are dropped."""
WINDOW_US = 10_000_000
MAX_REPORT_DEVIATION_US = 2_000_000
"""Sender reports that place audio further from its arrival are ignored: the camera's clock was set between the two."""
TOLERATED_OFFSET_US = 10_000
SLEW_DIVISOR = 64
"""Drift is corrected by at most 1/64 of the elapsed media time."""
DISCONTINUITY_US = 1_000_000
MAX_AUDIO_DELAY_US = 2_500_000
"""How late audio may arrive (it then goes into a later fragment) before silence is inserted."""


class MinDelayFilter:
    """Minimum delay of the last one to two windows. The network only adds delay, so the minimum is the best estimate."""

    def __init__(self) -> None:
        self._previous_us: int | None = None
        self._current_us: int | None = None
        self._window_start_us: int | None = None

    @property
    def min_us(self) -> int | None:
        minima = [minimum for minimum in (self._previous_us, self._current_us) if minimum is not None]
        return min(minima, default=None)

    def feed(self, delay_us: int, at_us: int) -> None:
        if self._window_start_us is None or at_us - self._window_start_us >= WINDOW_US:
            self._previous_us, self._current_us, self._window_start_us = self._current_us, None, at_us
        self._current_us = delay_us if self._current_us is None else min(self._current_us, delay_us)


@dataclass(frozen=True, slots=True)
class _TimedUnit:
    unit: AudioUnit
    dts: int


class AudioSync:
    """One connection's audio; each epoch drains the units that belong to it."""

    def __init__(self, parameters: AudioParameters) -> None:
        self.parameters = parameters
        self.dropped_units = 0
        self._pending: deque[AudioUnit] = deque()
        self.reset()

    def reset(self) -> None:
        """Forgets the relation of the clocks: the pictures of the next epoch may have another one."""
        self._picture_delay, self._audio_delay = MinDelayFilter(), MinDelayFilter()
        self._clock_mapping: tuple[int, int] | None = None  # a picture's pts, and its `camera_us`
        self._last_timed: _TimedUnit | None = None
        self._end_ticks = 0  # end of the last sample placed, silence included
        self._shift_ticks = 0  # from the reader's audio ticks to the epoch's media clock
        for unit in self._pending:
            self._record_delay(unit)

    def feed_picture(self, picture: Picture) -> None:
        """Records the delay of the epoch's next picture."""
        self._picture_delay.feed(picture.arrival_us - ticks.to_us(picture.pts), picture.arrival_us)
        if picture.camera_us is not None:
            self._clock_mapping = picture.pts, picture.camera_us

    def feed_audio(self, units: Iterable[AudioUnit]) -> None:
        """Queues audio units in order; drops the oldest beyond `MAX_PENDING_UNITS`."""
        for unit in units:
            self._record_delay(unit)
            self._pending.append(unit)
        while len(self._pending) > MAX_PENDING_UNITS:
            self._pending.popleft()
            self.dropped_units += 1

    def drain(
        self, from_ticks: int, to_ticks: int, shift_ticks: int, *, max_bytes: int, is_last: bool = False
    ) -> tuple[AudioSample, ...]:
        """Returns the pending audio that starts before `to_ticks`, in order, each unit once.

        Audio before `from_ticks`, the epoch's first picture, is dropped. Both are 90 kHz ticks of the epoch's media
        clock, `shift_ticks` ahead of the reader's. Silence fills gaps, and audio that is more than
        `MAX_AUDIO_DELAY_US` late; with `is_last` it extends to `to_ticks`. Units beyond `max_bytes` stay pending.
        """
        timed: list[tuple[int, bytes]] = []
        first, end, size = self._to_audio_ticks(from_ticks), self._to_audio_ticks(to_ticks), 0
        self._end_ticks = max(self._end_ticks, first)
        while self._pending:
            unit = self._pending[0]
            size += len(unit.data)
            dts = self._compute_dts(unit, shift_ticks)
            if dts is not None and (dts >= end or size > max_bytes):
                break
            self._pending.popleft()
            if dts is None or dts < max(first, self._end_ticks - self.parameters.unit_ticks // 2):
                self.dropped_units += 1
                continue
            self._last_timed, self._shift_ticks = _TimedUnit(unit, dts), dts - unit.pts
            self._fill_silence(dts, timed)
            self._append(dts, unit.data, timed)
        grace_ticks = 0 if is_last else ticks.from_us(MAX_AUDIO_DELAY_US, self.parameters.clock_rate)
        self._fill_silence(end - grace_ticks, timed)
        return self._to_samples(timed)

    def _fill_silence(self, until_ticks: int, timed: list[tuple[int, bytes]]) -> None:
        while self._end_ticks + self.parameters.unit_ticks <= until_ticks:
            self._append(self._end_ticks, self.parameters.silent_unit, timed)

    def _append(self, dts: int, data: bytes, timed: list[tuple[int, bytes]]) -> None:
        timed.append((dts, data))
        self._end_ticks = dts + self.parameters.unit_ticks

    def _to_audio_ticks(self, video_ticks: int) -> int:
        return video_ticks * self.parameters.clock_rate // ticks.VIDEO_RATE

    def _record_delay(self, unit: AudioUnit) -> None:
        self._audio_delay.feed(unit.captured_us - ticks.to_us(unit.pts, self.parameters.clock_rate), unit.captured_us)

    def _compute_dts(self, unit: AudioUnit, shift_ticks: int) -> int | None:
        """The unit's decode time in audio ticks of the media clock; None for a duplicate."""
        due_dts = self._compute_due_dts(unit, shift_ticks)
        if self._last_timed is None:
            return due_dts
        step, max_step = (
            unit.pts - self._last_timed.unit.pts,
            ticks.from_us(DISCONTINUITY_US, self.parameters.clock_rate),
        )
        if -max_step < step <= 0:
            return None
        if not 0 < step <= max_step:
            return max(due_dts, self._last_timed.dts + self.parameters.unit_ticks)
        error_ticks = due_dts - unit.pts - self._shift_ticks
        if abs(error_ticks) <= ticks.from_us(TOLERATED_OFFSET_US, self.parameters.clock_rate):
            error_ticks = 0
        max_slew_ticks = max(1, step // SLEW_DIVISOR)
        return unit.pts + self._shift_ticks + max(-max_slew_ticks, min(max_slew_ticks, error_ticks))

    def _compute_due_dts(self, unit: AudioUnit, shift_ticks: int) -> int:
        """The unit's ideal decode time by sender reports or arrivals, before drift correction is limited."""
        media_us = ticks.to_us(unit.pts, self.parameters.clock_rate)
        picture_delay_us, audio_delay_us = self._picture_delay.min_us, self._audio_delay.min_us
        assert picture_delay_us is not None, "an epoch has a picture before it has a fragment"
        assert audio_delay_us is not None
        due_us = media_us + audio_delay_us - picture_delay_us + ticks.to_us(shift_ticks)
        if self._clock_mapping is not None and unit.camera_us is not None:
            pts, camera_us = self._clock_mapping
            reported_us = ticks.to_us(pts + shift_ticks) + unit.camera_us - camera_us
            if abs(reported_us - due_us) <= MAX_REPORT_DEVIATION_US:
                due_us = reported_us
        return ticks.from_us(due_us, self.parameters.clock_rate)

    def _to_samples(self, timed: list[tuple[int, bytes]]) -> tuple[AudioSample, ...]:
        """Extends each sample to the next one's start: a `trun` has no other way to express a pause."""
        ends = [*(dts for dts, _ in timed), self._end_ticks][1:]
        return tuple(AudioSample(data, dts, end - dts) for (dts, data), end in zip(timed, ends, strict=True))
