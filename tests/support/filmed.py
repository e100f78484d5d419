"""Segment objects of numbered pictures, as ingest and recorder make them: every access unit says which it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from districam_common.index import IndexEntry
from districam_common.names import flags_of, segment_key
from districam_common.ticks import from_us, to_us
from districam_devkit.bitstream import (
    RunningNumber,
    insert_sei,
    is_parameter_set,
    join_length_prefixed,
    running_number_sei,
)
from districam_devkit.simcam.clips import Clip, Generated, open_clip
from districam_ingest.core import h264, h265
from districam_ingest.core.boxes import moof_mdat
from districam_ingest.core.units import AccessUnit
from districam_ingest.mux import init_of
from support.objects import Made

CACHE = Path(__file__).parents[2] / ".devkit" / "clips"


@dataclass(frozen=True, slots=True)
class Film:
    """A camera whose picture `n` is taken at `origin_us` and `n` picture intervals."""

    camera_id: str
    clip: Clip
    origin_us: int

    def at_us(self, number: int) -> int:
        return self.origin_us + to_us(round(number * 90_000 / self.clip.fps))

    def unit(self, number: int, shift_us: int) -> AccessUnit:
        """As one client of the camera got it, `shift_us` later than the camera sent it."""
        loop, index = divmod(number, len(self.clip.access_units))
        raw = self.clip.access_units[index]
        sent = RunningNumber(number, self.at_us(number), self.camera_id)
        nals = insert_sei(self.clip.codec, raw.nals, running_number_sei(self.clip.codec, sent))
        base = from_us(self.origin_us + shift_us) + loop * self.clip.duration
        return AccessUnit(
            data=join_length_prefixed([n for n in nals if not is_parameter_set(self.clip.codec, n)]),
            start_us=to_us(base + raw.dts),
            dts=base + raw.dts,
            pts=base + raw.pts,
            is_keyframe=raw.is_keyframe,
        )


def film(camera_id: str, origin_us: int, source: Generated) -> Film:
    return Film(camera_id, open_clip(source, cache=CACHE), origin_us)


def recorded(
    film: Film,
    epoch: str,
    numbers: range,
    *,
    fragment: int = 25,
    segment: int = 250,
    shift_us: int = 0,
    first_seq: int = 0,
) -> list[Made]:
    """The segments of an epoch of these pictures; `fragment` and `segment` are lengths in pictures."""
    units = [film.unit(number, shift_us) for number in numbers]
    cuts = [units[n : n + fragment] for n in range(0, len(units), fragment)]
    each = segment // fragment
    return [
        _segment(film, epoch, first_seq + n, cuts[n : n + each], units) for n in range(0, len(cuts), each)
    ]


def _segment(
    film: Film, epoch: str, seq: int, cuts: Sequence[Sequence[AccessUnit]], units: Sequence[AccessUnit]
) -> Made:
    shape = (h264 if film.clip.codec == "h264" else h265).shape(film.clip.parameter_sets)
    init = init_of(shape, film.clip.parameter_sets)
    tick = units[1].dts - units[0].dts
    content = init + b"".join(moof_mdat(cut, tick) for cut in cuts)
    entry = IndexEntry(
        epoch=epoch,
        first_seq=seq,
        last_seq=seq + len(cuts) - 1,
        start_us=cuts[0][0].start_us,
        end_us=to_us(cuts[-1][-1].dts + tick),
        bytes=len(content),
        init_bytes=len(init),
        flags=flags_of(starts_with_keyframe=cuts[0][0].is_keyframe, lossy=False),
    )
    return Made(segment_key(film.camera_id, entry), entry, content)
