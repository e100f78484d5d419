"""The camera's media clock on our clock: the least delayed arrival decides, and time never jumps inside an epoch.

The network only ever delays a picture. So of all pictures of the first second the one that came soonest tells best
when the media clock's zero was. Later windows correct the rate, by 500 ppm at most: a quartz is better than that, and
what is faster is a jump, which ends the epoch.

Pictures that come over a second late are held back. Either the network was slow, and one will be on time again: then all
keep the times at which they were taken. Or none of ten seconds is: then the encoder had paused, and its timestamps had not
shown it; they are not this epoch's.
"""

from typing import Final

from districam_common.contract import ticks
from districam_ingest.codec.nal import length_prefixed
from districam_ingest.units import AccessUnit, Picture

ANCHOR_WINDOW_US: Final = 1_000_000
MAX_UNCERTAIN_WINDOW_US: Final = 10_000_000
"""How long an anchor is waited for while nobody knows what time it is."""
WINDOW_US: Final = 10_000_000
MAX_DRIFT_PPM: Final = 500
MAX_DEVIATION_US: Final = 1_000_000
MAX_PENDING_PICTURES, MAX_PENDING_KEYFRAMES = 2_000, 500
"""Pictures, and keyframes of them, each of which will be a fragment: what a socket keeps of any camera while this process stands
still is hardly more."""


class _TimedPicture:
    __slots__ = ("dts", "is_keyframe", "media_us", "picture")

    def __init__(self, picture: Picture, dts: int, media_us: int, *, is_keyframe: bool) -> None:
        self.picture, self.dts, self.is_keyframe = picture, dts, is_keyframe
        self.media_us = media_us  # since the epoch's first


class Timeline:
    """One epoch's clock.

    Args:
        offset_us: our wall clock minus the monotonic clock when the epoch began.

    Attributes:
        pending_bytes: of the pictures that are held.
    """

    def __init__(self, offset_us: int) -> None:
        self._offset_us = offset_us
        self._pending: list[_TimedPicture] = []
        self.pending_bytes = self._pending_keyframes = 0
        self._first_dts = 0
        self._anchor_us: int | None = None  # wall time of the first dts
        self._shift_ticks = 0  # from the reader's ticks to the epoch's media clock
        self._correction_us = 0.0
        self._target_us = 0
        self._window_start_us = 0
        self._window_min_delay_us: int | None = None
        self._last_media_us = 0
        self._pending_deviation_us: int | None = None

    @property
    def is_anchored(self) -> bool:
        return self._anchor_us is not None

    @property
    def shift_ticks(self) -> int:
        """From the reader's ticks to the epoch's media clock, once anchored."""
        return self._shift_ticks

    @property
    def deviation_us(self) -> int | None:
        """How far the media clock is off ours, if over a second: even the least delayed picture of a window was.

        An encoder that paused without a leap in its timestamps looks so. Correcting it would take hours.
        """
        if self._pending_deviation_us is not None:
            return self._pending_deviation_us
        correction_left_us = self._target_us - round(self._correction_us)
        return correction_left_us if abs(correction_left_us) > MAX_DEVIATION_US else None

    def compute_ahead_us(self, picture: Picture, dts: int) -> int:
        """By how much media time would have left the arrivals behind with this picture; 0 once anchored.

        So far before its first picture came, and a little more, an epoch would begin.
        """
        if self._anchor_us is not None or not self._pending:
            return 0
        return ticks.to_us(dts - self._first_dts) - (picture.arrival_us - self._pending[0].picture.arrival_us)

    def set_offset(self, offset_us: int) -> None:
        """Our wall clock minus the monotonic clock is another now; heeded until the epoch is anchored."""
        self._offset_us = offset_us

    def feed(
        self, picture: Picture, dts: int, *, is_keyframe: bool, is_clock_uncertain: bool = False
    ) -> list[AccessUnit]:
        """Takes the next picture in decode order; gives those whose time is now known, none in the first second.

        Nor while our own clock is `is_clock_uncertain`, up to `DOUBT_US`.
        """
        if self._anchor_us is None and not self._pending:
            self._first_dts = dts
        timed = _TimedPicture(picture, dts, ticks.to_us(dts - self._first_dts), is_keyframe=is_keyframe)
        if self._anchor_us is not None and self._compute_late_us(timed, self._anchor_us) <= MAX_DEVIATION_US:
            return [*self.flush(), self._to_access_unit(timed, self._anchor_us)]
        self._pending.append(timed)
        for nal in picture.nals:
            self.pending_bytes += len(nal)
        self._pending_keyframes += is_keyframe
        if len(self._pending) >= MAX_PENDING_PICTURES or self._pending_keyframes >= MAX_PENDING_KEYFRAMES:
            return self.flush()
        pending_us = picture.arrival_us - self._pending[0].picture.arrival_us
        if self._anchor_us is None:
            return (
                self.flush()
                if pending_us >= (MAX_UNCERTAIN_WINDOW_US if is_clock_uncertain else ANCHOR_WINDOW_US)
                else []
            )
        if pending_us >= WINDOW_US:
            self._pending_deviation_us = min(self._compute_late_us(one, self._anchor_us) for one in self._pending)
        return []

    def flush(self) -> list[AccessUnit]:
        """Gives what is held: on time again, after the first second, at an early end, or since there is no room for it.

        Anchors, if nothing did yet.
        """
        if not self._pending:
            return []
        if self._anchor_us is None:
            self._anchor()
        assert self._anchor_us is not None
        pending, self._pending, self.pending_bytes, self._pending_keyframes = self._pending, [], 0, 0
        return [self._to_access_unit(placed, self._anchor_us) for placed in pending]

    def discard(self) -> list[Picture]:
        """Takes back what is held."""
        pending, self._pending, self.pending_bytes, self._pending_keyframes = self._pending, [], 0, 0
        return [placed.picture for placed in pending]

    def _anchor(self) -> None:
        """On what has arrived so far."""
        anchor_us = self._offset_us + min(p.picture.arrival_us - p.media_us for p in self._pending)
        self._anchor_us = anchor_us
        self._shift_ticks = ticks.from_us(anchor_us) - self._first_dts

    def _compute_late_us(self, timed: _TimedPicture, anchor_us: int) -> int:
        """How much later it came than the corrected clock says."""
        due_us = anchor_us + timed.media_us + round(self._correction_us)
        return timed.picture.arrival_us + self._offset_us - due_us

    def _to_access_unit(self, timed: _TimedPicture, anchor_us: int) -> AccessUnit:
        picture, media_us = timed.picture, timed.media_us
        self._update_correction(media_us, picture.arrival_us + self._offset_us - anchor_us - media_us)
        return AccessUnit(
            parts=length_prefixed(picture.nals),
            start_us=anchor_us + media_us + round(self._correction_us),
            dts=timed.dts + self._shift_ticks,
            pts=picture.pts + self._shift_ticks,
            is_keyframe=timed.is_keyframe,
            camera_us=picture.camera_us,
            lost_packets=picture.lost_packets,
            is_damaged=picture.is_damaged,
        )

    def _update_correction(self, media_us: int, delay_us: int) -> None:
        """Follows the least delay of each window, no faster than `MAX_DRIFT_PPM`."""
        step_us, self._last_media_us = media_us - self._last_media_us, media_us
        max_step_us = step_us * MAX_DRIFT_PPM / 1e6
        self._correction_us += max(-max_step_us, min(max_step_us, self._target_us - self._correction_us))
        if delay_us - self._correction_us <= MAX_DEVIATION_US:  # what a slow network has kept says nothing of clocks
            min_delay_us = self._window_min_delay_us
            self._window_min_delay_us = delay_us if min_delay_us is None else min(min_delay_us, delay_us)
        if media_us - self._window_start_us >= WINDOW_US and self._window_min_delay_us is not None:
            self._target_us, self._window_start_us = self._window_min_delay_us, media_us
            self._window_min_delay_us = None
