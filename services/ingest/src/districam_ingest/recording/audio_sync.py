"""Where an epoch's sound lies beside its pictures. It follows them: nothing here ends, moves or delays a picture.

Both are on clocks of their own. How the two lie to one another is told by the camera's sender reports of both, as far as
their arrival bears it out; else by their arrival alone: of both the least delayed counts. A difference that shows later is
made up for slowly; only behind a break of the sound does it leap.

Players wait for a track that has nothing to play, and the pictures with it. So silence stands where sound is missing.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from districam_common.contract import ticks
from districam_common.mp4.writer import AudioSample
from districam_ingest.codec.aac import AudioParameters
from districam_ingest.units import AudioUnit, Picture

MAX_PENDING_UNITS = 2048
"""Units that wait for their pictures; over it, the oldest are left out."""
WINDOW_US = 10_000_000
MAX_REPORT_DEVIATION_US = 2_000_000
"""Sender reports that put sound further from its arrival are wrong: a clock was set between the two."""
TOLERATED_OFFSET_US = 10_000
SLEW_DIVISOR = 64
"""A difference is made up for by one part in so many."""
DISCONTINUITY_US = 1_000_000
MAX_AUDIO_DELAY_US = 2_500_000
"""So long behind a fragment's end its sound is waited for, in the fragments behind it; then silence takes its place."""


class MinDelayFilter:
    """The least of what was seen in the last two windows: the network only ever delays."""

    def __init__(self) -> None:
        self._previous_us: int | None = None
        self._current_us: int | None = None
        self._window_start_us: int | None = None

    @property
    def min_us(self) -> int | None:
        seen = [one for one in (self._previous_us, self._current_us) if one is not None]
        return min(seen, default=None)

    def feed(self, delay_us: int, at_us: int) -> None:
        if self._window_start_us is None or at_us - self._window_start_us >= WINDOW_US:
            self._previous_us, self._current_us, self._window_start_us = self._current_us, None, at_us
        self._current_us = delay_us if self._current_us is None else min(self._current_us, delay_us)


@dataclass(frozen=True, slots=True)
class _TimedUnit:
    unit: AudioUnit
    dts: int


class AudioSync:
    """One connection's sound; epochs take from it what is theirs."""

    def __init__(self, parameters: AudioParameters) -> None:
        self.parameters = parameters
        self.dropped_units = 0
        self._pending: deque[AudioUnit] = deque()
        self.reset()

    def reset(self) -> None:
        """Another epoch starts: its pictures may have another clock."""
        self._picture_delay, self._audio_delay = MinDelayFilter(), MinDelayFilter()
        self._clock_mapping: tuple[int, int] | None = None  # a picture's time in ticks, and by the camera's clock
        self._last_timed: _TimedUnit | None = None
        self._end_ticks = 0  # of all that was laid, silence too
        self._shift_ticks = 0  # from the sound's ticks as read to the epoch's media clock
        for unit in self._pending:
            self._record_delay(unit)

    def feed_picture(self, picture: Picture) -> None:
        """The epoch's next picture."""
        self._picture_delay.feed(picture.arrival_us - ticks.to_us(picture.pts), picture.arrival_us)
        if picture.camera_us is not None:
            self._clock_mapping = picture.pts, picture.camera_us

    def feed_audio(self, units: Iterable[AudioUnit]) -> None:
        """The next sound."""
        for unit in units:
            self._record_delay(unit)
            self._pending.append(unit)
        while len(self._pending) > MAX_PENDING_UNITS:
            self._pending.popleft()
            self.dropped_units += 1

    def drain(
        self, from_ticks: int, to_ticks: int, shift_ticks: int, *, max_bytes: int, is_last: bool = False
    ) -> tuple[AudioSample, ...]:
        """What starts before `to_ticks` and was not taken yet, each unit once, in order.

        What starts before `from_ticks`, the epoch's first picture, is left out. The ticks are those of the epoch's media
        clock, `shift_ticks` later than the pictures' as read. Silence stands where sound is known to be missing, or is
        over `LATE_US` late; where it `is_last`, up to the end.
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
        """Where it is laid; None for what was there already."""
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
        """Where it lies by all that is known now."""
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
        """Each lasts until the next: a run of samples has no other way to leave a rest open."""
        ends = [*(dts for dts, _ in timed), self._end_ticks][1:]
        return tuple(AudioSample(data, dts, end - dts) for (dts, data), end in zip(timed, ends, strict=True))
