"""A camera's media clock: which picture of its clip belongs to a running number, and its timestamp. Pure."""

from districam_devkit.simcam.clips import Clip
from districam_devkit.simcam.rtp import CLOCK_HZ


class MediaClock:
    """Timestamps are in ticks of 1/90000 s from any origin, without wrap-around.

    Args:
        first_unit: the access unit of the clip that belongs to number 0.
    """

    def __init__(self, clip: Clip, first_unit: int) -> None:
        self._clip = clip
        self._first_ticks = self._grid(first_unit)
        self._base_number, self._base_ticks = -first_unit, 0
        self._shift = 0
        self._paused_at: int | None = None
        self._held: int | None = None

    def unit_index(self, number: int) -> int:
        return (number - self._base_number) % len(self._clip.access_units)

    def ticks(self, number: int) -> int:
        """Returns the timestamp of the access unit with that number."""
        if self._held is not None:
            return self._held
        loops, index = divmod(number - self._base_number, len(self._clip.access_units))
        units = self._clip.access_units
        return self._base_ticks + loops * self._clip.duration + units[index].pts + self._shift

    def ticks_at(self, elapsed_s: float) -> int:
        """Returns the clock's value `elapsed_s` after the camera's start.

        It is at least the timestamp of each picture sent by then: a picture is captured before it is sent, in
        any order.
        """
        return round(elapsed_s * CLOCK_HZ) + self._first_ticks + self._reorder() + self._shift

    def switch_clip(self, clip: Clip, number: int) -> None:
        """From `number` on plays another clip of the same rate, from the clip's start."""
        self._base_ticks = self._first_ticks + self._grid(number)
        self._clip, self._base_number = clip, number

    def jump(self, by_s: float) -> None:
        self._shift += round(by_s * CLOCK_HZ)

    def pause(self, number: int) -> None:
        """The encoder makes no pictures from `number` on, and timestamps do not count the time."""
        if self._paused_at is None:
            self._paused_at = number

    def resume(self, number: int) -> None:
        """The encoder makes pictures again from `number` on, continuing with the first timestamp that was left out."""
        if self._paused_at is not None:
            self._shift -= self._grid(number) - self._grid(self._paused_at)
            self._paused_at = None

    def freeze_timestamps(self, number: int) -> None:
        """Keeps the timestamp of `number` until `resume_timestamps`."""
        if self._held is None:
            self._held = self.ticks(number)

    def resume_timestamps(self) -> None:
        self._held = None

    def _reorder(self) -> int:
        """Largest difference of presentation time and decode time in the clip, in ticks."""
        return max(unit.pts - self._grid(index) for index, unit in enumerate(self._clip.access_units))

    def _grid(self, number: int) -> int:
        return round(number * CLOCK_HZ / self._clip.fps)
