"""Audio of a clip's fragments, and its place in the clip's time.

Raises ValueError on malformed boxes (`districam_common.mp4.boxes`).
"""

from collections.abc import Iterable, Sequence

from districam_common.contract.ticks import from_us
from districam_common.mp4 import boxes as mp4
from districam_common.mp4.boxes import Data, Track
from districam_common.mp4.writer import AudioSample

MAX_OVERLAP_US = 20_000
"""Two replicas place the same audio within this of each other."""

AudioSamples = tuple[AudioSample, ...]
NO_AUDIO: AudioSamples = ()


def parse_audio(data: Data, track: Track) -> AudioSamples:
    """The samples of that track in a fragment; empty if it has none."""
    if track.track_id not in mp4.track_ids(data):
        return NO_AUDIO
    return tuple(
        AudioSample(bytes(data[one.offset : one.offset + one.size]), one.dts, one.duration)
        for one in mp4.samples(data, track)
    )


def audio_track(tracks: Iterable[Track]) -> Track | None:
    """The first track that is not video; None if there is none."""
    return next((track for track in tracks if not track.is_video), None)


class AudioRetimer:
    """Retimes the audio of a clip's fragments: keeps its stored offset to the pictures, drops repeated samples."""

    def __init__(self, track: Track, video_timescale: int) -> None:
        self.track_id = track.track_id
        self._timescale, self._video_timescale = track.timescale, video_timescale
        self._end = 0

    def feed(self, samples: Sequence[AudioSample], offset: int, video_end: int) -> list[AudioSample]:
        """Retimes samples of a fragment whose pictures move by `offset` and end at `video_end` (video ticks).

        Samples that start before the clip, before the end of earlier audio, or after the pictures are dropped.
        """
        offset, video_end = (
            offset * self._timescale // self._video_timescale,
            video_end * self._timescale // self._video_timescale,
        )
        retimed: list[AudioSample] = []
        for sample in samples:
            start, until = sample.dts + offset, sample.dts + offset + sample.duration
            overlap = min(from_us(MAX_OVERLAP_US, self._timescale), sample.duration // 2)
            if start < max(0, self._end - overlap) or start >= video_end:
                continue
            start = max(start, self._end)
            if (
                retimed and retimed[-1].dts + retimed[-1].duration < start
            ):  # a `trun` has no gaps: the last sample is extended
                last = retimed.pop()
                retimed.append(AudioSample(last.data, last.dts, start - last.dts))
            retimed.append(AudioSample(sample.data, start, until - start))
            self._end = until
        return retimed
