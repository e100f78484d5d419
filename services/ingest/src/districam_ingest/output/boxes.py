"""Encodes a fragment for Kafka: `moof` and `mdat` (ISO/IEC 14496-12 section 8.8.4 and 8.1.1) of video and audio."""

from collections.abc import Sequence
from typing import Final

from districam_common.mp4.writer import AudioSample, audio_run, fragment_header, video_run
from districam_ingest.units import AccessUnit

_VIDEO_TRACK_ID: Final = 1
_AUDIO_TRACK_ID: Final = 2


def encode_moof_mdat(
    units: Sequence[AccessUnit], last_duration: int, audio: Sequence[AudioSample] = (), *, prefix: bytes = b""
) -> bytes:
    """Returns `prefix` followed by one fragment: the video run, then the audio run.

    `tfdt` is the DTS of a track's first unit; the last picture lasts `last_duration` ticks. The bytes are joined once:
    one more copy would cost more than the rest of the encoding.
    """
    samples: list[tuple[int, int, bool, int]] = []
    media: list[bytes] = []
    last = len(units) - 1
    for n, unit in enumerate(units):
        duration = units[n + 1].dts - unit.dts if n < last else last_duration
        samples.append((duration, unit.size, unit.is_keyframe, unit.pts - unit.dts))
        media += unit.parts
    runs = [video_run(_VIDEO_TRACK_ID, units[0].dts, samples, media)]
    if audio:
        runs.append(audio_run(_AUDIO_TRACK_ID, audio))
    return b"".join((prefix, fragment_header(1, runs), *[piece for run in runs for piece in run.media]))
