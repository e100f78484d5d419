"""The sound beside a clip's pictures, and its place in the clip.

Raises ValueError on bytes that are not what they should be (`districam_common.mp4.boxes`).
"""

from collections.abc import Iterable, Sequence

from districam_common.contract.ticks import from_us
from districam_common.mp4 import boxes as mp4
from districam_common.mp4.boxes import Data, Track
from districam_common.mp4.writer import AudioUnit

OVERLAP_US = 20_000
"""Two replicas place the same sound this near to one another."""

Sound = tuple[AudioUnit, ...]
NOTHING: Sound = ()


def sound_in(data: Data, track: Track) -> Sound:
    """The samples of that track in a fragment, which need not have any."""
    if track.track_id not in mp4.track_ids(data):
        return NOTHING
    return tuple(
        AudioUnit(bytes(data[one.offset : one.offset + one.size]), one.dts, one.duration)
        for one in mp4.samples(data, track)
    )


def sound_track(tracks: Iterable[Track]) -> Track | None:
    """The first that is no video; None if there is none."""
    return next((track for track in tracks if not track.is_video), None)


class SoundPlacing:
    """Gives the sound of a clip's fragments its place: beside the pictures as it was stored, nothing twice."""

    def __init__(self, track: Track, video_rate: int) -> None:
        self.track_id = track.track_id
        self._rate, self._video_rate = track.timescale, video_rate
        self._end = 0

    def place(self, sound: Sequence[AudioUnit], by: int, end: int) -> list[AudioUnit]:
        """Of a fragment whose pictures are moved `by` and end at `end`, both in their ticks.

        What starts before the clip, before what is there already, or behind the pictures is left out.
        """
        by, end = by * self._rate // self._video_rate, end * self._rate // self._video_rate
        placed: list[AudioUnit] = []
        for unit in sound:
            start, until = unit.dts + by, unit.dts + by + unit.duration
            overlap = min(from_us(OVERLAP_US, self._rate), unit.duration // 2)
            if start < max(0, self._end - overlap) or start >= end:
                continue
            start = max(start, self._end)
            if placed and placed[-1].dts + placed[-1].duration < start:  # a run of samples has no gaps
                last = placed.pop()
                placed.append(AudioUnit(last.data, last.dts, start - last.dts))
            placed.append(AudioUnit(unit.data, start, until - start))
            self._end = until
        return placed
