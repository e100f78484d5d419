"""Segment objects of numbered pictures, as ingest and recorder make them: every access unit says which it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from districam_common.contract.index import IndexEntry
from districam_common.contract.names import flags_of, segment_key
from districam_common.contract.ticks import from_us, to_us
from districam_common.mp4.writer import AudioUnit
from districam_devkit.bitstream import (
    RunningNumber,
    insert_sei,
    is_parameter_set,
    join_length_prefixed,
    running_number_sei,
)
from districam_devkit.simcam.clips import Clip, Generated, open_clip
from districam_devkit.simcam.tones import Tone
from districam_ingest.codec import h264, h265
from districam_ingest.codec.aac import sound_shape
from districam_ingest.output.boxes import moof_mdat
from districam_ingest.output.mux import init_of
from districam_ingest.units import AccessUnit
from support.objects import Made

LATE_S = 0.15
"""Sound of the end of a fragment comes when that has left."""
CACHE = Path(__file__).parents[2] / ".devkit" / "clips"


@dataclass(frozen=True, slots=True)
class Film:
    """A camera whose picture `n` is taken at `origin_us` and `n` picture intervals."""

    camera_id: str
    clip: Clip
    origin_us: int
    tone: Tone | None = None

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
            parts=(join_length_prefixed([n for n in nals if not is_parameter_set(self.clip.codec, n)]),),
            start_us=to_us(base + raw.dts),
            dts=base + raw.dts,
            pts=base + raw.pts,
            is_keyframe=raw.is_keyframe,
        )

    def sound(self, from_dts: int, to_dts: int, shift_us: int) -> list[AudioUnit]:
        """What goes with a fragment: what starts in its interval, or came late for the one before."""
        if self.tone is None:
            return []
        rate, unit, units = self.tone.rate, self.tone.unit, self.tone.units
        base = from_us(self.origin_us + shift_us, rate)
        first, end = (round((dts / 90_000 - LATE_S) * rate) - base for dts in (from_dts, to_dts))
        numbers = range(max(0, -(-first // unit)), -(-end // unit))
        return [AudioUnit(units[n % len(units)], base + n * unit, unit) for n in numbers]


class Padded(Film):
    """Pictures of 32 KiB and more, by filler data (ITU-T H.264 section 7.3.2.7)."""

    def unit(self, number: int, shift_us: int) -> AccessUnit:
        unit = Film.unit(self, number, shift_us)
        return replace(
            unit, parts=(*unit.parts, join_length_prefixed([b"\x0c" + b"\xff" * 32_768 + b"\x80"]))
        )


def film(camera_id: str, origin_us: int, source: Generated, tone: Tone | None = None) -> Film:
    return Film(camera_id, open_clip(source, cache=CACHE), origin_us, tone)


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
        _segment(film, epoch, first_seq + n, cuts[n : n + each], units, shift_us=shift_us)
        for n in range(0, len(cuts), each)
    ]


def _segment(
    film: Film,
    epoch: str,
    seq: int,
    cuts: Sequence[Sequence[AccessUnit]],
    units: Sequence[AccessUnit],
    *,
    shift_us: int,
) -> Made:
    shape = (h264 if film.clip.codec == "h264" else h265).shape(film.clip.parameter_sets)
    heard = sound_shape(film.tone.config, film.tone.rate) if film.tone else None
    init = init_of(shape, film.clip.parameter_sets, heard)
    tick = units[1].dts - units[0].dts
    media = [
        moof_mdat(cut, tick, film.sound(_since(cut, units), cut[-1].dts + tick, shift_us)) for cut in cuts
    ]
    content = init + b"".join(media)
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


def _since(cut: Sequence[AccessUnit], units: Sequence[AccessUnit]) -> int:
    """An epoch has no sound from before its first picture."""
    return cut[0].dts + (round(LATE_S * 90_000) if cut[0] is units[0] else 0)
