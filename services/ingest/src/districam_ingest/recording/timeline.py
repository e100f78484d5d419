"""Maps a camera's media clock to wall time by the least delayed arrivals; time never jumps within an epoch.

The network only adds delay, so the least delayed picture of the first second best tells the wall time of the media
clock's zero (the anchor). Later windows correct the rate, by at most 500 ppm: a quartz is better than that, and any
faster change is a jump, which ends the epoch.

Pictures over a second late are held. If a later one is on time, the network was slow, and all keep their media times.
If none within ten seconds is, the encoder paused without showing it in its timestamps: they belong to the next epoch.
"""

from typing import Final

from districam_common.contract import ticks
from districam_ingest.codec.nal import length_prefixed
from districam_ingest.units import AccessUnit, Picture

ANCHOR_WINDOW_US: Final = 1_000_000
MAX_UNCERTAIN_WINDOW_US: Final = 10_000_000
"""How long anchoring is delayed at most while the host's clock is uncertain."""
WINDOW_US: Final = 10_000_000
MAX_DRIFT_PPM: Final = 500
MAX_DEVIATION_US: Final = 1_000_000
MAX_PENDING_PICTURES, MAX_PENDING_KEYFRAMES = 2_000, 500
"""Bounds on held pictures, and on keyframes among them, each of which starts a fragment. A socket's buffer hardly holds
more of any camera while this process is stalled."""


class _TimedPicture:
    __slots__ = ("dts", "is_keyframe", "media_us", "picture")

    def __init__(self, picture: Picture, dts: int, media_us: int, *, is_keyframe: bool) -> None:
        self.picture, self.dts, self.is_keyframe = picture, dts, is_keyframe
        self.media_us = media_us  # since the epoch's first


class Timeline:
    """Assigns wall times to one epoch's pictures.

    Args:
        offset_us: our wall clock minus the monotonic clock at the start of the epoch.

    Attributes:
        pending_bytes: bytes of the pictures held.
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
        """Offset from the reader's ticks to the epoch's media clock; valid once anchored."""
        return self._shift_ticks

    @property
    def deviation_us(self) -> int | None:
        """Deviation of the media clock from ours, if even the least delayed picture of a window is over a second off.

        Typical of an encoder that paused without a jump in its timestamps. Correcting it at 500 ppm would take hours.
        """
        if self._pending_deviation_us is not None:
            return self._pending_deviation_us
        correction_left_us = self._target_us - round(self._correction_us)
        return correction_left_us if abs(correction_left_us) > MAX_DEVIATION_US else None

    def compute_ahead_us(self, picture: Picture, dts: int) -> int:
        """How much more media time than arrival time has passed since the first picture; 0 once anchored.

        The epoch would start at least this long before its first picture arrived.
        """
        if self._anchor_us is not None or not self._pending:
            return 0
        return ticks.to_us(dts - self._first_dts) - (picture.arrival_us - self._pending[0].picture.arrival_us)

    def set_offset(self, offset_us: int) -> None:
        """Updates our wall clock minus the monotonic clock; no effect once the epoch is anchored."""
        self._offset_us = offset_us

    def feed(
        self, picture: Picture, dts: int, *, is_keyframe: bool, is_clock_uncertain: bool = False
    ) -> list[AccessUnit]:
        """Takes the next picture in decode order; returns those whose time is now known.

        There are none in the first second; while `is_clock_uncertain`, none for up to `MAX_UNCERTAIN_WINDOW_US`.
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
        """Returns the pictures held, anchoring the epoch first if it is not.

        Called when a picture is on time again, after the first second, at the epoch's end, or if memory is short.
        """
        if not self._pending:
            return []
        if self._anchor_us is None:
            self._anchor()
        assert self._anchor_us is not None
        pending, self._pending, self.pending_bytes, self._pending_keyframes = self._pending, [], 0, 0
        return [self._to_access_unit(timed, self._anchor_us) for timed in pending]

    def discard(self) -> list[Picture]:
        """Removes and returns the pictures held."""
        pending, self._pending, self.pending_bytes, self._pending_keyframes = self._pending, [], 0, 0
        return [timed.picture for timed in pending]

    def _anchor(self) -> None:
        """Anchors on the least delayed picture of those held."""
        anchor_us = self._offset_us + min(p.picture.arrival_us - p.media_us for p in self._pending)
        self._anchor_us = anchor_us
        self._shift_ticks = ticks.from_us(anchor_us) - self._first_dts

    def _compute_late_us(self, timed: _TimedPicture, anchor_us: int) -> int:
        """How late it arrived relative to the corrected media clock."""
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
        """Follows the minimum delay of each window, no faster than `MAX_DRIFT_PPM`."""
        step_us, self._last_media_us = media_us - self._last_media_us, media_us
        max_step_us = step_us * MAX_DRIFT_PPM / 1e6
        self._correction_us += max(-max_step_us, min(max_step_us, self._target_us - self._correction_us))
        if delay_us - self._correction_us <= MAX_DEVIATION_US:  # else late by the network, not by clocks
            min_delay_us = self._window_min_delay_us
            self._window_min_delay_us = delay_us if min_delay_us is None else min(min_delay_us, delay_us)
        if media_us - self._window_start_us >= WINDOW_US and self._window_min_delay_us is not None:
            self._target_us, self._window_start_us = self._window_min_delay_us, media_us
            self._window_min_delay_us = None
