"""Segment objects of numbered pictures, as ingest and recorder make them: every access unit has its running number."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from districam_common.contract.names import flags_of, segment_object_key
from districam_common.contract.segment_array import IndexEntry
from districam_common.contract.ticks import from_us, to_us
from districam_common.mp4.writer import AudioSample
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
from districam_ingest.codec.aac import parse_audio_specific_config
from districam_ingest.output.boxes import encode_moof_mdat
from districam_ingest.output.mux import mux_init
from districam_ingest.units import AccessUnit
from support.segment_objects import SegmentObject

AUDIO_DELAY_S = 0.15
"""Audio of the end of a fragment arrives after the fragment was sent."""
CACHE = Path(__file__).parents[2] / ".devkit" / "clips"


@dataclass(frozen=True, slots=True)
class NumberedFootage:
    """A camera whose picture `n` is captured `n` frame intervals after `origin_us`."""

    camera_id: str
    clip: Clip
    origin_us: int
    tone: Tone | None = None

    def picture_us(self, number: int) -> int:
        return self.origin_us + to_us(round(number * 90_000 / self.clip.fps))

    def access_unit(self, number: int, shift_us: int) -> AccessUnit:
        """The access unit as one client received it, `shift_us` after the camera sent it."""
        loop, index = divmod(number, len(self.clip.access_units))
        raw = self.clip.access_units[index]
        sent = RunningNumber(number, self.picture_us(number), self.camera_id)
        nals = insert_sei(self.clip.codec, raw.nals, running_number_sei(self.clip.codec, sent))
        base = from_us(self.origin_us + shift_us) + loop * self.clip.duration
        return AccessUnit(
            parts=(join_length_prefixed([n for n in nals if not is_parameter_set(self.clip.codec, n)]),),
            start_us=to_us(base + raw.dts),
            dts=base + raw.dts,
            pts=base + raw.pts,
            is_keyframe=raw.is_keyframe,
        )

    def audio_units(self, from_dts: int, to_dts: int, shift_us: int) -> list[AudioSample]:
        """Audio in a fragment: samples that start in its interval, or arrived too late for the previous one."""
        if self.tone is None:
            return []
        rate, unit, units = self.tone.sample_rate, self.tone.unit_samples, self.tone.access_units
        base = from_us(self.origin_us + shift_us, rate)
        first, end = (round((dts / 90_000 - AUDIO_DELAY_S) * rate) - base for dts in (from_dts, to_dts))
        numbers = range(max(0, -(-first // unit)), -(-end // unit))
        return [AudioSample(units[n % len(units)], base + n * unit, unit) for n in numbers]


class PaddedFootage(NumberedFootage):
    """Pictures of 32 KiB and more, padded with filler data (H.264, 7.3.2.7)."""

    def access_unit(self, number: int, shift_us: int) -> AccessUnit:
        unit = NumberedFootage.access_unit(self, number, shift_us)
        return replace(unit, parts=(*unit.parts, join_length_prefixed([b"\x0c" + b"\xff" * 32_768 + b"\x80"])))


def open_footage(camera_id: str, origin_us: int, source: Generated, tone: Tone | None = None) -> NumberedFootage:
    return NumberedFootage(camera_id, open_clip(source, cache=CACHE), origin_us, tone)


def make_numbered_segments(
    footage: NumberedFootage,
    epoch: str,
    numbers: range,
    *,
    fragment_pictures: int = 25,
    segment_pictures: int = 250,
    shift_us: int = 0,
    first_seq: int = 0,
) -> list[SegmentObject]:
    """Segments of an epoch of these pictures; `fragment_pictures` and `segment_pictures` are lengths in pictures."""
    units = [footage.access_unit(number, shift_us) for number in numbers]
    fragments = [units[n : n + fragment_pictures] for n in range(0, len(units), fragment_pictures)]
    each = segment_pictures // fragment_pictures
    return [
        _segment(footage, epoch, first_seq + n, fragments[n : n + each], units, shift_us=shift_us)
        for n in range(0, len(fragments), each)
    ]


def _segment(
    footage: NumberedFootage,
    epoch: str,
    seq: int,
    fragments: Sequence[Sequence[AccessUnit]],
    units: Sequence[AccessUnit],
    *,
    shift_us: int,
) -> SegmentObject:
    shape = (h264 if footage.clip.codec == "h264" else h265).parse_video_parameters(footage.clip.parameter_sets)
    audio_parameters = (
        parse_audio_specific_config(footage.tone.config, footage.tone.sample_rate) if footage.tone else None
    )
    init = mux_init(shape, footage.clip.parameter_sets, audio_parameters)
    tick = units[1].dts - units[0].dts
    media = [
        encode_moof_mdat(cut, tick, footage.audio_units(_since(cut, units), cut[-1].dts + tick, shift_us))
        for cut in fragments
    ]
    content = init + b"".join(media)
    entry = IndexEntry(
        epoch=epoch,
        first_seq=seq,
        last_seq=seq + len(fragments) - 1,
        start_us=fragments[0][0].start_us,
        end_us=to_us(fragments[-1][-1].dts + tick),
        bytes=len(content),
        init_bytes=len(init),
        flags=flags_of(starts_with_keyframe=fragments[0][0].is_keyframe, lossy=False),
    )
    return SegmentObject(segment_object_key(footage.camera_id, entry), entry, content)


def _since(fragment: Sequence[AccessUnit], units: Sequence[AccessUnit]) -> int:
    """Start of the fragment's audio; later in an epoch's first fragment, as there is none before the first picture."""
    return fragment[0].dts + (round(AUDIO_DELAY_S * 90_000) if fragment[0] is units[0] else 0)
