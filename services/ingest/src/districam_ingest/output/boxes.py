"""A fragment as it goes to Kafka: `moof` and `mdat` of its pictures and its sound."""

from collections.abc import Sequence
from typing import Final

from districam_common.mp4.writer import AudioUnit, audio_run, fragment_head, video_run
from districam_ingest.units import AccessUnit

_VIDEO: Final = 1
_AUDIO: Final = 2


def moof_mdat(
    units: Sequence[AccessUnit], last_duration: int, sound: Sequence[AudioUnit] = (), *, front: bytes = b""
) -> bytes:
    """One fragment behind `front`: the pictures, then the sound.

    `tfdt` is the DTS of a track's first unit; the last picture lasts `last_duration` ticks. All is put together once:
    copying it again would cost more than all the rest of it.
    """
    samples: list[tuple[int, int, bool, int]] = []
    media: list[bytes] = []
    last = len(units) - 1
    for n, unit in enumerate(units):
        duration = units[n + 1].dts - unit.dts if n < last else last_duration
        samples.append((duration, unit.size, unit.is_keyframe, unit.pts - unit.dts))
        media += unit.parts
    runs = [video_run(_VIDEO, units[0].dts, samples, media)]
    if sound:
        runs.append(audio_run(_AUDIO, sound))
    return b"".join((front, fragment_head(1, runs), *[piece for run in runs for piece in run.media]))
