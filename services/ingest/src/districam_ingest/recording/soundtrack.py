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
from districam_common.mp4.writer import AudioUnit
from districam_ingest.codec.aac import SoundShape
from districam_ingest.units import Picture, Sound

HELD_MOST = 2048
"""Units that wait for their pictures; over it, the oldest are left out."""
WINDOW_US = 10_000_000
BELIEVED_US = 2_000_000
"""Sender reports that put sound further from its arrival are wrong: a clock was set between the two."""
TOLERATED_US = 10_000
SLOWNESS = 64
"""A difference is made up for by one part in so many."""
BREAK_US = 1_000_000
LATE_US = 2_500_000
"""So long behind a fragment's end its sound is waited for, in the fragments behind it; then silence takes its place."""


class LeastDelay:
    """The least of what was seen in the last two windows: the network only ever delays."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._now: int | None = None
        self._since_us: int | None = None

    @property
    def least_us(self) -> int | None:
        seen = [one for one in (self._before, self._now) if one is not None]
        return min(seen, default=None)

    def push(self, delay_us: int, at_us: int) -> None:
        if self._since_us is None or at_us - self._since_us >= WINDOW_US:
            self._before, self._now, self._since_us = self._now, None, at_us
        self._now = delay_us if self._now is None else min(self._now, delay_us)


@dataclass(frozen=True, slots=True)
class _Placed:
    sound: Sound
    dts: int


class Soundtrack:
    """One connection's sound; epochs take from it what is theirs."""

    def __init__(self, shape: SoundShape) -> None:
        self.shape = shape
        self.left_out = 0
        self._waiting: deque[Sound] = deque()
        self.begin()

    def begin(self) -> None:
        """Another epoch starts: its pictures may have another clock."""
        self._pictures, self._sounds = LeastDelay(), LeastDelay()
        self._reported: tuple[int, int] | None = None  # a picture's time in ticks, and by the camera's clock
        self._last: _Placed | None = None
        self._end = 0  # of all that was laid, silence too
        self._shift = 0  # from the sound's ticks as read to the epoch's media clock
        for sound in self._waiting:
            self._time(sound)

    def see(self, picture: Picture) -> None:
        """The epoch's next picture."""
        self._pictures.push(picture.arrival_us - ticks.to_us(picture.pts), picture.arrival_us)
        if picture.camera_us is not None:
            self._reported = picture.pts, picture.camera_us

    def hear(self, sounds: Iterable[Sound]) -> None:
        """The next sound."""
        for sound in sounds:
            self._time(sound)
            self._waiting.append(sound)
        while len(self._waiting) > HELD_MOST:
            self._waiting.popleft()
            self.left_out += 1

    def take(
        self, from_ticks: int, to_ticks: int, shift_ticks: int, *, most_bytes: int, is_last: bool = False
    ) -> tuple[AudioUnit, ...]:
        """What starts before `to_ticks` and was not taken yet, each unit once, in order.

        What starts before `from_ticks`, the epoch's first picture, is left out. The ticks are those of the epoch's media
        clock, `shift_ticks` later than the pictures' as read. Silence stands where sound is known to be missing, or is
        over `LATE_US` late; where it `is_last`, up to the end.
        """
        laid: list[tuple[int, bytes]] = []
        first, end, size = self._own(from_ticks), self._own(to_ticks), 0
        self._end = max(self._end, first)
        while self._waiting:
            sound = self._waiting[0]
            size += len(sound.data)
            dts = self._place(sound, shift_ticks)
            if dts is not None and (dts >= end or size > most_bytes):
                break
            self._waiting.popleft()
            if dts is None or dts < max(first, self._end - self.shape.unit_ticks // 2):
                self.left_out += 1
                continue
            self._last, self._shift = _Placed(sound, dts), dts - sound.pts
            self._be_silent(dts, laid)
            self._lay(dts, sound.data, laid)
        late = 0 if is_last else ticks.from_us(LATE_US, self.shape.rate)
        self._be_silent(end - late, laid)
        return self._units(laid)

    def _be_silent(self, until: int, laid: list[tuple[int, bytes]]) -> None:
        while self._end + self.shape.unit_ticks <= until:
            self._lay(self._end, self.shape.silence, laid)

    def _lay(self, dts: int, data: bytes, laid: list[tuple[int, bytes]]) -> None:
        laid.append((dts, data))
        self._end = dts + self.shape.unit_ticks

    def _own(self, video_ticks: int) -> int:
        return video_ticks * self.shape.rate // ticks.VIDEO_RATE

    def _time(self, sound: Sound) -> None:
        self._sounds.push(sound.taken_us - ticks.to_us(sound.pts, self.shape.rate), sound.taken_us)

    def _place(self, sound: Sound, shift_ticks: int) -> int | None:
        """Where it is laid; None for what was there already."""
        due = self._due(sound, shift_ticks)
        if self._last is None:
            return due
        step, most = sound.pts - self._last.sound.pts, ticks.from_us(BREAK_US, self.shape.rate)
        if -most < step <= 0:
            return None
        if not 0 < step <= most:
            return max(due, self._last.dts + self.shape.unit_ticks)
        off = due - sound.pts - self._shift
        if abs(off) <= ticks.from_us(TOLERATED_US, self.shape.rate):
            off = 0
        slow = max(1, step // SLOWNESS)
        return sound.pts + self._shift + max(-slow, min(slow, off))

    def _due(self, sound: Sound, shift_ticks: int) -> int:
        """Where it lies by all that is known now."""
        own_us = ticks.to_us(sound.pts, self.shape.rate)
        pictures_us, sounds_us = self._pictures.least_us, self._sounds.least_us
        assert pictures_us is not None, "an epoch has a picture before it has a fragment"
        assert sounds_us is not None
        at_us = own_us + sounds_us - pictures_us + ticks.to_us(shift_ticks)
        if self._reported is not None and sound.camera_us is not None:
            pts, camera_us = self._reported
            reported_us = ticks.to_us(pts + shift_ticks) + sound.camera_us - camera_us
            if abs(reported_us - at_us) <= BELIEVED_US:
                at_us = reported_us
        return ticks.from_us(at_us, self.shape.rate)

    def _units(self, laid: list[tuple[int, bytes]]) -> tuple[AudioUnit, ...]:
        """Each lasts until the next: a run of samples has no other way to leave a rest open."""
        ends = [*(dts for dts, _ in laid), self._end][1:]
        return tuple(AudioUnit(data, dts, end - dts) for (dts, data), end in zip(laid, ends, strict=True))
